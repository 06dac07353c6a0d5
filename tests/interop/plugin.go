package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	kmsv1 "k8s.io/kms/apis/v1beta1"
	kmsservice "k8s.io/kms/pkg/service"
)

// dek is an encrypted DEK source with its plaintext: enough for any plugin to decrypt it.
type dek struct {
	Provider    string            `json:"provider"`
	Ciphertext  []byte            `json:"ciphertext"`
	KeyID       string            `json:"keyId,omitempty"`
	Annotations map[string][]byte `json:"annotations,omitempty"`
	Plaintext   []byte            `json:"plaintext"`
}

// wallet holds what all plugins of one vector file have encrypted.
type wallet struct {
	mutex sync.Mutex
	deks  []dek
}

func (w *wallet) find(d dek) ([]byte, bool) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	for _, known := range w.deks {
		same := known.Provider == d.Provider && known.KeyID == d.KeyID && bytes.Equal(known.Ciphertext, d.Ciphertext) &&
			maps.EqualFunc(known.Annotations, d.Annotations, bytes.Equal)
		if same {
			return known.Plaintext, true
		}
	}
	return nil, false
}

// seal makes up a ciphertext, which only needs to be new.
func (w *wallet) seal(d dek) dek {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	name := fmt.Sprintf("%s %s %d", d.Provider, d.KeyID, len(w.deks))
	sum := sha256.Sum256([]byte(name))
	d.Ciphertext = sum[:]
	d.Plaintext = slices.Clone(d.Plaintext)
	w.deks = append(w.deks, d)
	return d
}

// pluginV2 is a KMS v2 plugin without a socket.
type pluginV2 struct {
	wallet      *wallet
	provider    string
	keyID       string
	annotations map[string][]byte
}

func (p *pluginV2) Status(context.Context) (*kmsservice.StatusResponse, error) {
	return &kmsservice.StatusResponse{Version: "v2", Healthz: "ok", KeyID: p.keyID}, nil
}

func (p *pluginV2) Encrypt(_ context.Context, _ string, plaintext []byte) (*kmsservice.EncryptResponse, error) {
	d := p.wallet.seal(dek{Provider: p.provider, KeyID: p.keyID, Annotations: p.annotations, Plaintext: plaintext})
	return &kmsservice.EncryptResponse{Ciphertext: d.Ciphertext, KeyID: d.KeyID, Annotations: d.Annotations}, nil
}

func (p *pluginV2) Decrypt(_ context.Context, _ string, r *kmsservice.DecryptRequest) ([]byte, error) {
	wanted := dek{Provider: p.provider, Ciphertext: r.Ciphertext, KeyID: r.KeyID, Annotations: r.Annotations}
	plaintext, ok := p.wallet.find(wanted)
	if !ok {
		return nil, status.Error(codes.InvalidArgument, "no such DEK")
	}
	return plaintext, nil
}

// pluginV1 is a KMS v1 plugin on a socket: upstream has no hook to replace it with one that needs no socket.
type pluginV1 struct {
	kmsv1.UnimplementedKeyManagementServiceServer
	wallet   *wallet
	provider string
	mood     atomic.Pointer[moodV1]
	server   *grpc.Server
}

// moodV1 holds the answers of a KMS v1 plugin. EncryptFails and DecryptFails are the errors of those calls: "code message".
type moodV1 struct {
	Version      string `json:"version"`
	EncryptFails string `json:"encryptFails"`
	DecryptFails string `json:"decryptFails"`
}

// failure parses an error, "code message"; an empty text means no error.
func failure(text string) error {
	if text == "" {
		return nil
	}
	number, message, _ := strings.Cut(text, " ")
	code, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		panic(err)
	}
	return status.Error(codes.Code(code), message)
}

// serveV1 listens on a socket until the plugin is stopped.
func serveV1(path, provider string, wallet *wallet, mood *moodV1) (*pluginV1, error) {
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	p := &pluginV1{wallet: wallet, provider: provider, server: grpc.NewServer()}
	p.mood.Store(mood)
	kmsv1.RegisterKeyManagementServiceServer(p.server, p)
	go func() { _ = p.server.Serve(listener) }()
	return p, nil
}

// serveHealthyV1 serves a healthy plugin on a separate socket in dir, and returns its endpoint.
func serveHealthyV1(dir, provider string, wallet *wallet) (endpoint string, stop func(), err error) {
	path := filepath.Join(dir, fmt.Sprintf("v1-%d.sock", time.Now().UnixNano()))
	p, err := serveV1(path, provider, wallet, &moodV1{Version: "v1beta1"})
	if err != nil {
		return "", nil, err
	}
	return "unix://" + path, p.server.Stop, nil
}

func (p *pluginV1) Version(context.Context, *kmsv1.VersionRequest) (*kmsv1.VersionResponse, error) {
	return &kmsv1.VersionResponse{Version: p.mood.Load().Version, RuntimeName: "interop", RuntimeVersion: "1"}, nil
}

func (p *pluginV1) Encrypt(_ context.Context, r *kmsv1.EncryptRequest) (*kmsv1.EncryptResponse, error) {
	if err := failure(p.mood.Load().EncryptFails); err != nil {
		return nil, err
	}
	return &kmsv1.EncryptResponse{Cipher: p.wallet.seal(dek{Provider: p.provider, Plaintext: r.Plain}).Ciphertext}, nil
}

func (p *pluginV1) Decrypt(_ context.Context, r *kmsv1.DecryptRequest) (*kmsv1.DecryptResponse, error) {
	if err := failure(p.mood.Load().DecryptFails); err != nil {
		return nil, err
	}
	plaintext, ok := p.wallet.find(dek{Provider: p.provider, Ciphertext: r.Cipher})
	if !ok {
		return nil, status.Error(codes.InvalidArgument, "no such DEK")
	}
	return &kmsv1.DecryptResponse{Plain: plaintext}, nil
}
