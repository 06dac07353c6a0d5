package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage/value/encrypt/envelope"
	envelopekmsv2 "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	kmsv1api "k8s.io/kms/apis/v1beta1"
	kmsv2api "k8s.io/kms/apis/v2"
	kmsservice "k8s.io/kms/pkg/service"
)

const aboutSockets = "What upstream's KMS clients report when the plugin's socket is unusable. state is what is at the socket's path. With connected, the same client " +
	"first had an answer from a plugin on that path, which was then stopped and replaced by the state, and has noticed that its connection is gone. status (KMS v2 only), encrypt and decrypt are the errors of the " +
	"calls, with a timeout of half a second; health is the error of the provider's health check in a process that starts in that state (not recorded with connected). " +
	"The socket's path is written as SOCKET. With the state \"killed during a call\", the plugin has received the call when its connection ends."

type socketsFile struct {
	Format   int           `json:"format"`
	Producer string        `json:"producer"`
	Version  string        `json:"version"`
	About    string        `json:"about"`
	Rows     []*socketFail `json:"rows"`
}

type socketFail struct {
	State     string `json:"state"`
	API       string `json:"api"`
	Connected bool   `json:"connected"`
	Status    string `json:"status,omitempty"`
	Encrypt   string `json:"encrypt"`
	Decrypt   string `json:"decrypt"`
	Health    string `json:"health,omitempty"`
}

// socketState puts something at path, and returns what undoes it.
type socketState struct {
	name string
	make func(path string) (undo func(), err error)
}

func nothing() {}

func refused(path string) (func(), error) {
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false)
	return nothing, listener.Close()
}

var socketStates = []socketState{
	{"missing", func(string) (func(), error) { return nothing, nil }},
	{"refused", refused},
	{"directory", func(path string) (func(), error) { return nothing, os.Mkdir(path, 0o755) }},
	{"plain file", func(path string) (func(), error) { return nothing, os.WriteFile(path, nil, 0o666) }},
	{"not permitted", func(path string) (func(), error) {
		listener, err := net.Listen("unix", path)
		if err != nil {
			return nil, err
		}
		if err := os.Chmod(path, 0); err != nil {
			return nil, err
		}
		if os.Geteuid() != 0 {
			return func() { _ = listener.Close() }, nil
		}
		// Root may connect to any socket. This changes every thread of this process.
		err = syscall.Seteuid(65534)
		return func() {
			if err := syscall.Seteuid(0); err != nil {
				panic(err)
			}
			_ = listener.Close()
		}, err
	}},
	{killed, func(string) (func(), error) { return nothing, nil }},
	{"never accepted", func(path string) (func(), error) {
		listener, err := net.Listen("unix", path)
		return func() { _ = listener.Close() }, err
	}},
}

// stuckV1 is a KMS v1 plugin that answers calls, or ends the connection during one.
type stuckV1 struct {
	kmsv1api.UnimplementedKeyManagementServiceServer
	during chan struct{}
}

// stuckV2 is the same for KMS v2.
type stuckV2 struct {
	kmsv2api.UnimplementedKeyManagementServiceServer
	during chan struct{}
}

func wait(ctx context.Context, during chan struct{}) error {
	if during == nil {
		return nil
	}
	close(during)
	<-ctx.Done()
	return ctx.Err()
}

func (p *stuckV1) Version(context.Context, *kmsv1api.VersionRequest) (*kmsv1api.VersionResponse, error) {
	return &kmsv1api.VersionResponse{Version: "v1beta1"}, nil
}

func (p *stuckV1) Encrypt(ctx context.Context, r *kmsv1api.EncryptRequest) (*kmsv1api.EncryptResponse, error) {
	return &kmsv1api.EncryptResponse{Cipher: r.Plain}, wait(ctx, p.during)
}

func (p *stuckV1) Decrypt(ctx context.Context, r *kmsv1api.DecryptRequest) (*kmsv1api.DecryptResponse, error) {
	return &kmsv1api.DecryptResponse{Plain: r.Cipher}, wait(ctx, p.during)
}

func (p *stuckV2) Status(ctx context.Context, _ *kmsv2api.StatusRequest) (*kmsv2api.StatusResponse, error) {
	return &kmsv2api.StatusResponse{Version: "v2", Healthz: "ok", KeyId: "kek-1"}, wait(ctx, p.during)
}

func (p *stuckV2) Encrypt(ctx context.Context, r *kmsv2api.EncryptRequest) (*kmsv2api.EncryptResponse, error) {
	return &kmsv2api.EncryptResponse{Ciphertext: r.Plaintext, KeyId: "kek-1"}, wait(ctx, p.during)
}

func (p *stuckV2) Decrypt(ctx context.Context, r *kmsv2api.DecryptRequest) (*kmsv2api.DecryptResponse, error) {
	return &kmsv2api.DecryptResponse{Plaintext: r.Ciphertext}, wait(ctx, p.during)
}

// serveStuck serves both APIs. Stopping it ends its connections; the socket's file stays, as when a process is killed.
func serveStuck(path string, during chan struct{}) (stop func(), err error) {
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false)
	server := grpc.NewServer()
	kmsv1api.RegisterKeyManagementServiceServer(server, &stuckV1{during: during})
	kmsv2api.RegisterKeyManagementServiceServer(server, &stuckV2{during: during})
	go func() { _ = server.Serve(listener) }()
	return server.Stop, nil
}

// client is the calls of one of upstream's KMS clients. status is nil with KMS v1.
type client struct {
	status, encrypt, decrypt func() error
}

const killed = "killed"

const socketTimeout = 500 * time.Millisecond

func dialKMS(ctx context.Context, api, path string) (*client, error) {
	if api == "v1" {
		service, err := envelope.NewGRPCService(ctx, "unix://"+path, socketTimeout)
		if err != nil {
			return nil, err
		}
		return &client{
			encrypt: func() error { _, err := service.Encrypt([]byte("x")); return err },
			decrypt: func() error { _, err := service.Decrypt([]byte("x")); return err },
		}, nil
	}
	service, err := envelopekmsv2.NewGRPCService(ctx, "unix://"+path, "a", socketTimeout)
	if err != nil {
		return nil, err
	}
	return &client{
		status:  func() error { _, err := service.Status(ctx); return err },
		encrypt: func() error { _, err := service.Encrypt(ctx, "1", []byte("x")); return err },
		decrypt: func() error {
			_, err := service.Decrypt(ctx, "1", &kmsservice.DecryptRequest{Ciphertext: []byte("x"), KeyID: "kek-1"})
			return err
		},
	}, nil
}

// TestRecordSockets writes the errors of unusable sockets to the file that INTEROP_SOCKETS names.
func TestRecordSockets(t *testing.T) {
	out := os.Getenv("INTEROP_SOCKETS")
	if out == "" {
		t.Skip("INTEROP_SOCKETS names no file to write")
	}
	quiet()
	if err := utilfeature.DefaultMutableFeatureGate.Set("KMSv1=true"); err != nil {
		t.Fatal(err)
	}
	file := socketsFile{Format: 1, Producer: producer, Version: version(), About: aboutSockets}
	for _, api := range []string{"v1", "v2"} {
		for _, state := range socketStates {
			for _, connected := range []bool{false, true} {
				// A plugin that is killed was connected.
				if state.name == killed && !connected {
					continue
				}
				row := &socketFail{State: state.name, API: api, Connected: connected}
				if err := row.record(state); err != nil {
					t.Fatalf("%s, %s: %v", state.name, api, err)
				}
				file.Rows = append(file.Rows, row)
			}
		}
		row := &socketFail{State: "killed during a call", API: api, Connected: true}
		if err := row.recordKilledDuring(); err != nil {
			t.Fatalf("%s, %s: %v", row.State, api, err)
		}
		file.Rows = append(file.Rows, row)
	}
	text, err := json.MarshalIndent(&file, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(out, append(text, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (f *socketFail) record(state socketState) error {
	dir, err := os.MkdirTemp("", "kms")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	path := filepath.Join(dir, "kms.sock")
	config := filepath.Join(dir, "config.json")
	provider := kms(f.API, "a", map[string]any{"endpoint": "unix://" + path, "timeout": socketTimeout.String()})
	if err := os.WriteFile(config, configuration(provider), 0o644); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	// A client dials at once, when it is made and when its connection ends, and waits longer than its timeout before it dials again. So the plugin
	// must listen first, and the state must be there before a client dials.
	var calls *client
	stop := nothing
	if f.Connected {
		if stop, err = serveStuck(path, nil); err != nil {
			return err
		}
		if calls, err = dialKMS(ctx, f.API, path); err != nil {
			return err
		}
		if err := errors.Join(calls.encrypt(), calls.decrypt()); err != nil {
			return err
		}
		// The file of a killed plugin's socket stays.
		if state.name != killed {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	undo, err := state.make(path)
	if err != nil {
		return err
	}
	defer undo()
	stop()
	if !f.Connected {
		if calls, err = dialKMS(ctx, f.API, path); err != nil {
			return err
		}
	}
	// The first call may be sent before the client notices that its connection is gone.
	for f.Connected && status.Code(calls.encrypt()) == codes.Unavailable {
	}
	said := func(err error) string {
		if err == nil {
			return "no error"
		}
		return uid.ReplaceAllString(strings.ReplaceAll(err.Error(), path, "SOCKET"), `uid="UID"`)
	}
	if calls.status != nil {
		f.Status = said(calls.status())
	}
	f.Encrypt, f.Decrypt = said(calls.encrypt()), said(calls.decrypt())
	if f.Connected {
		return nil
	}
	loaded, err := encryptionconfig.LoadEncryptionConfig(ctx, config, false, "")
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "/healthz", nil)
	if err != nil {
		return err
	}
	f.Health = said(loaded.HealthChecks[0].Check(request))
	return nil
}

func (f *socketFail) recordKilledDuring() error {
	duringCall := func(call func(*client) func() error) (string, error) {
		dir, err := os.MkdirTemp("", "kms")
		if err != nil {
			return "", err
		}
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "kms.sock")
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		during := make(chan struct{})
		stop, err := serveStuck(path, during)
		if err != nil {
			return "", err
		}
		calls, err := dialKMS(ctx, f.API, path)
		if err != nil {
			return "", err
		}
		go func() { <-during; stop() }()
		return strings.ReplaceAll(call(calls)().Error(), path, "SOCKET"), nil
	}
	// The kernel resets a connection that ends with unread bytes. Whether there are any is chance, so only a connection that ends without is recorded.
	untilEnd := func(call func(*client) func() error) (string, error) {
		for {
			text, err := duringCall(call)
			if err != nil || !strings.HasSuffix(text, "connection reset by peer") {
				return text, err
			}
		}
	}
	var err error
	if f.API == "v2" {
		if f.Status, err = untilEnd(func(c *client) func() error { return c.status }); err != nil {
			return err
		}
	}
	if f.Encrypt, err = untilEnd(func(c *client) func() error { return c.encrypt }); err != nil {
		return err
	}
	f.Decrypt, err = untilEnd(func(c *client) func() error { return c.decrypt })
	return err
}
