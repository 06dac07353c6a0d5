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
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	kmsv1 "k8s.io/kms/apis/v1beta1"
	kmsservice "k8s.io/kms/pkg/service"
)

// dek is an encrypted DEK source with what it stands for: enough for a plugin of any make to decrypt it.
type dek struct {
	Provider    string            `json:"provider"`
	Ciphertext  []byte            `json:"ciphertext"`
	KeyID       string            `json:"keyId,omitempty"`
	Annotations map[string][]byte `json:"annotations,omitempty"`
	Plaintext   []byte            `json:"plaintext"`
}

// wallet is what all plugins of one vector file have encrypted.
type wallet struct {
	deks []dek
}

func (w *wallet) find(d dek) ([]byte, bool) {
	for _, known := range w.deks {
		same := known.Provider == d.Provider && known.KeyID == d.KeyID && bytes.Equal(known.Ciphertext, d.Ciphertext) &&
			maps.EqualFunc(known.Annotations, d.Annotations, bytes.Equal)
		if same {
			return known.Plaintext, true
		}
	}
	return nil, false
}

// seal invents a ciphertext: it needs to be nothing but new.
func (w *wallet) seal(d dek) dek {
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

// pluginV1 is a KMS v1 plugin on a socket: upstream lets nobody put another in its place.
type pluginV1 struct {
	kmsv1.UnimplementedKeyManagementServiceServer
	wallet   *wallet
	provider string
}

// serveV1 listens on a socket in dir until the plugin is stopped, and gives its endpoint.
func serveV1(dir, provider string, wallet *wallet) (endpoint string, stop func(), err error) {
	path := filepath.Join(dir, fmt.Sprintf("v1-%d.sock", time.Now().UnixNano()))
	listener, err := net.Listen("unix", path)
	if err != nil {
		return "", nil, err
	}
	server := grpc.NewServer()
	kmsv1.RegisterKeyManagementServiceServer(server, &pluginV1{wallet: wallet, provider: provider})
	go func() { _ = server.Serve(listener) }()
	return "unix://" + path, server.Stop, nil
}

func (p *pluginV1) Version(context.Context, *kmsv1.VersionRequest) (*kmsv1.VersionResponse, error) {
	return &kmsv1.VersionResponse{Version: "v1beta1", RuntimeName: "interop", RuntimeVersion: "1"}, nil
}

func (p *pluginV1) Encrypt(_ context.Context, r *kmsv1.EncryptRequest) (*kmsv1.EncryptResponse, error) {
	return &kmsv1.EncryptResponse{Cipher: p.wallet.seal(dek{Provider: p.provider, Plaintext: r.Plain}).Ciphertext}, nil
}

func (p *pluginV1) Decrypt(_ context.Context, r *kmsv1.DecryptRequest) (*kmsv1.DecryptResponse, error) {
	plaintext, ok := p.wallet.find(dek{Provider: p.provider, Ciphertext: r.Cipher})
	if !ok {
		return nil, status.Error(codes.InvalidArgument, "no such DEK")
	}
	return &kmsv1.DecryptResponse{Plain: plaintext}, nil
}
