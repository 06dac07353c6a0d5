package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage/value"
	kmsservice "k8s.io/kms/pkg/service"
)

const about = "Values that upstream's own transformers wrote, and what they say when they read them. A vector holds: resource; key, the storage key, in hex; " +
	"stored, in base64 or as the name of a file beside this one; the plaintext's length and SHA-256, where byte i of a plaintext of n bytes is " +
	"(7*i + n) mod 251; and reads, what comes of reading it with each of the named readers. A reader is a configuration, the key ID that each " +
	"provider's plugin names as its current one, and what KMS v2 would write (key or seed; a plugin encrypts nothing that is not in deks). " +
	"expect is ok, stale, authentication failure, malformed, no matching prefix, encrypted data or kms; error is what upstream said; differs says why ours may " +
	"not do the same. deks are encrypted DEK sources with what they stand for: a plugin must refuse all others. All byte strings not named here are base64."

type vectorFile struct {
	Format   int               `json:"format"`
	Producer string            `json:"producer"`
	Version  string            `json:"version"`
	About    string            `json:"about"`
	Readers  map[string]reader `json:"readers"`
	Deks     []dek             `json:"deks,omitempty"`
	Vectors  []vector          `json:"vectors"`
}

type reader struct {
	Config    json.RawMessage   `json:"config"`
	DekSource string            `json:"dekSource,omitempty"`
	KeyIDs    map[string]string `json:"keyIds,omitempty"`
}

type vector struct {
	Name       string     `json:"name"`
	Resource   string     `json:"resource"`
	Key        string     `json:"key"`
	Stored     []byte     `json:"stored,omitempty"`
	StoredFile string     `json:"storedFile,omitempty"`
	Plaintext  *plaintext `json:"plaintext,omitempty"`
	Reads      []read     `json:"reads"`
}

type plaintext struct {
	Len    int    `json:"len"`
	Sha256 string `json:"sha256"`
}

type read struct {
	Reader  string `json:"reader"`
	Expect  string `json:"expect"`
	Error   string `json:"error,omitempty"`
	Differs string `json:"differs,omitempty"`
}

func pattern(n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = byte((7*i + n) % 251)
	}
	return out
}

// factory makes one vector file, by writing and reading with upstream's transformers.
type factory struct {
	file   vectorFile
	wallet *wallet
	open   map[string]encryptionconfig.StaticTransformers
	dir    string
	undo   []func()
	// annotations of each KMS v2 provider's plugin.
	annotations map[string]map[string][]byte
	keyIDs      map[string]string
}

func newFactory(dir string) *factory {
	f := &factory{wallet: &wallet{}, open: map[string]encryptionconfig.StaticTransformers{}, dir: dir, annotations: map[string]map[string][]byte{}}
	f.file = vectorFile{Format: 1, Producer: producer, Version: version(), About: about, Readers: map[string]reader{}}
	return f
}

func (f *factory) close() {
	for _, undo := range f.undo {
		undo()
	}
}

// reader loads a configuration as kube-apiserver does, except that KMS v2 plugins need no socket.
func (f *factory) reader(name string, r reader) error {
	f.file.Readers[name] = r
	path := filepath.Join(f.dir, "config.json")
	config := r.Config
	var providers []string
	for provider := range r.KeyIDs {
		providers = append(providers, provider)
	}
	for _, provider := range providers {
		if r.KeyIDs[provider] != "" {
			continue
		}
		// KMS v1: the endpoint in the file is replaced by a live one.
		endpoint, stop, err := serveHealthyV1(f.dir, provider, f.wallet)
		if err != nil {
			return err
		}
		f.undo = append(f.undo, stop)
		config = []byte(strings.ReplaceAll(string(config), "unix:///run/"+provider+".sock", endpoint))
	}
	if err := os.WriteFile(path, config, 0o600); err != nil {
		return err
	}
	encryptionconfig.EnvelopeKMSv2ServiceFactory = func(_ context.Context, _, provider string, _ time.Duration) (kmsservice.Service, error) {
		return &pluginV2{wallet: f.wallet, provider: provider, keyID: r.KeyIDs[provider], annotations: f.annotations[provider]}, nil
	}
	if r.DekSource == "key" {
		for _, provider := range providers {
			defer encryptionconfig.SetKDFForTests(provider, false)()
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.undo = append(f.undo, cancel)
	loaded, err := encryptionconfig.LoadEncryptionConfig(ctx, path, false, "")
	if err != nil {
		return fmt.Errorf("reader %s: %w", name, err)
	}
	f.open[name] = loaded.Transformers
	return nil
}

func (f *factory) transformer(reader string) value.Transformer {
	return f.open[reader].TransformerForResource(schema.GroupResource{Resource: "secrets"})
}

// write adds a vector that one reader writes and these read.
func (f *factory) write(name, writer string, key []byte, n int, readers ...string) ([]byte, error) {
	stored, err := f.transformer(writer).TransformToStorage(context.Background(), pattern(n), value.DefaultContext(key))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return stored, f.add(name, key, stored, n, readers...)
}

// writeUnambiguous returns a value that a reader with another key rejects: one CBC value in 256 has a valid padding by chance.
func (f *factory) writeUnambiguous(writer string, key []byte, n int, refuser string) ([]byte, error) {
	for {
		stored, err := f.transformer(writer).TransformToStorage(context.Background(), pattern(n), value.DefaultContext(key))
		if err != nil {
			return nil, err
		}
		if _, _, err, _ := f.try(refuser, key, stored); err != nil {
			return stored, nil
		}
	}
}

// add adds a vector of an existing value; n is -1 if no reader can read it.
func (f *factory) add(name string, key, stored []byte, n int, readers ...string) error {
	v := vector{Name: name, Resource: "secrets", Key: hex.EncodeToString(key), Stored: slices.Clone(stored)}
	if n >= 0 {
		sum := sha256.Sum256(pattern(n))
		v.Plaintext = &plaintext{Len: n, Sha256: hex.EncodeToString(sum[:])}
	}
	for _, reader := range readers {
		r := read{Reader: reader}
		out, stale, err, panicked := f.try(reader, key, stored)
		switch {
		case panicked != "":
			r.Expect, r.Error, r.Differs = "malformed", "panic: "+panicked, "upstream panics; ours must not"
		case err != nil:
			r.Expect, r.Error = class(err), err.Error()
			if strings.HasPrefix(string(stored), "k8s:enc:aescbc:") && strings.Contains(r.Error, "multiple of the block size") {
				r.Expect, r.Differs = "authentication failure", "no failure of CBC is told from another"
			}
		case string(out) != string(pattern(n)):
			return fmt.Errorf("%s: %s reads something else", name, reader)
		case stale:
			r.Expect = "stale"
		default:
			r.Expect = "ok"
		}
		v.Reads = append(v.Reads, r)
	}
	if !slices.ContainsFunc(v.Reads, func(r read) bool { return r.Expect == "ok" || r.Expect == "stale" }) {
		v.Plaintext = nil
	}
	f.file.Vectors = append(f.file.Vectors, v)
	return nil
}

func (f *factory) try(reader string, key, stored []byte) (out []byte, stale bool, err error, panicked string) {
	defer func() {
		if r := recover(); r != nil {
			panicked = fmt.Sprint(r)
		}
	}()
	out, stale, err = f.transformer(reader).TransformFromStorage(context.Background(), stored, value.DefaultContext(key))
	return out, stale, err, ""
}

// class distinguishes the errors that Dekker must distinguish.
func class(err error) string {
	text := err.Error()
	has := func(part string) bool { return strings.Contains(text, part) }
	switch {
	case has("cipher: message authentication failed"), has("output array was not large enough"), has("PKCS7"), has("invalid padding on input"):
		return "authentication failure"
	case has("no matching prefix found"), has("no matching key was found"):
		return "no matching prefix"
	case has("identity transformer tried to read encrypted data"):
		return "encrypted data"
	case has("failed to decrypt DEK"), has("rpc error"):
		return "kms"
	default:
		return "malformed"
	}
}

var (
	token = []byte("/registry/secrets/default/token")
	sizes = []int{0, 1, 15, 16, 17, 100, 4096}
	large = 1 << 20
	keys  = []struct {
		desc string
		key  []byte
	}{
		{"no key", nil},
		{"a slash", []byte("/")},
		{"letters beyond ASCII", []byte("/registry/secrets/ключ/ß")},
		{"bytes that are not UTF-8", []byte{'/', 0xff, 0xfe, 0x00, 0x80, '/', 0xc3}},
		{"1000 bytes", []byte(strings.Repeat("/k", 500))},
	}
)

type namedKey struct {
	Name   string `json:"name"`
	Secret []byte `json:"secret"`
}

func secret(label string, n int) []byte {
	sum := sha256.Sum256([]byte("Dekker interop: " + label))
	return sum[:n]
}

func configuration(providers ...map[string]any) json.RawMessage {
	config := map[string]any{
		"apiVersion": "apiserver.config.k8s.io/v1",
		"kind":       "EncryptionConfiguration",
		"resources":  []any{map[string]any{"resources": []string{"secrets"}, "providers": providers}},
	}
	out, err := json.Marshal(config)
	if err != nil {
		panic(err)
	}
	return out
}

func local(kind string, keys ...namedKey) map[string]any {
	return map[string]any{kind: map[string]any{"keys": keys}}
}

func kms(version, name string, more map[string]any) map[string]any {
	fields := map[string]any{"apiVersion": version, "name": name, "endpoint": "unix:///run/" + name + ".sock"}
	for field, value := range more {
		fields[field] = value
	}
	return map[string]any{"kms": fields}
}

var identity = map[string]any{"identity": map[string]any{}}

// steps runs one step after the other until one fails.
func steps(all ...func() error) error {
	for _, step := range all {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func vectors(args []string) error {
	flags := flag.NewFlagSet("vectors", flag.ContinueOnError)
	everyLarge := flags.Bool("every-large", false, "a value of 1 MiB for every provider, not only for two")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("vectors: say where to")
	}
	out := flags.Arg(0)
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	aesLens := []int{16, 24, 32}
	files := []struct {
		name string
		fill func(*factory) error
	}{
		{"aesgcm", func(f *factory) error { return f.localProvider("aesgcm", aesLens, *everyLarge) }},
		{"aescbc", func(f *factory) error { return f.localProvider("aescbc", aesLens, *everyLarge) }},
		{"secretbox", func(f *factory) error { return f.localProvider("secretbox", []int{32}, *everyLarge) }},
		{"identity", func(f *factory) error { return f.identityProvider() }},
		{"kms-v2-seed", func(f *factory) error { return f.kmsV2("seed", *everyLarge) }},
		{"kms-v2-key", func(f *factory) error { return f.kmsV2("key", *everyLarge) }},
		{"kms-v1", func(f *factory) error { return f.kmsV1(*everyLarge) }},
	}
	for _, file := range files {
		if err := makeFile(out, file.name, file.fill); err != nil {
			return fmt.Errorf("%s: %w", file.name, err)
		}
	}
	return nil
}

func makeFile(out, name string, fill func(*factory) error) error {
	dir, err := os.MkdirTemp("/tmp", "dk")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	f := newFactory(dir)
	defer f.close()
	if err := fill(f); err != nil {
		return err
	}
	f.file.Deks = f.wallet.deks
	for i := range f.file.Vectors {
		v := &f.file.Vectors[i]
		if len(v.Stored) < large {
			continue
		}
		v.StoredFile = name + "-1MiB.bin"
		if err := os.WriteFile(filepath.Join(out, v.StoredFile), v.Stored, 0o644); err != nil {
			return err
		}
		v.Stored = nil
	}
	text, err := lines(&f.file)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, name+".json"), text, 0o644)
}

// lines writes one vector on each line, so that changes are easy to review.
func lines(file *vectorFile) ([]byte, error) {
	vectors := file.Vectors
	file.Vectors = nil
	defer func() { file.Vectors = vectors }()
	head, err := json.MarshalIndent(file, "", " ")
	if err != nil {
		return nil, err
	}
	text := strings.TrimSuffix(string(head), "null\n}") + "["
	for i, v := range vectors {
		line, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			text += ","
		}
		text += "\n  " + string(line)
	}
	return []byte(text + "\n ]\n}\n"), nil
}
