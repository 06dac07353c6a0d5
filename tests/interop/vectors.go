package main

import (
	"context"
	"crypto/cipher"
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

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage/value"
	aestransformer "k8s.io/apiserver/pkg/storage/value/encrypt/aes"
	"k8s.io/apiserver/pkg/storage/value/encrypt/envelope"
	kmstypes "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2/v2"
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
		// KMS v1: the endpoint in the file becomes a live one.
		endpoint, stop, err := serveV1(f.dir, provider, f.wallet)
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

// writeUnambiguous gives a value that a reader with another key refuses: one value of CBC in 256 has a padding that passes.
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

// add adds a vector of a value that is there; n is -1 where nobody can read it.
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

// class tells the faults apart that ours must tell apart.
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

// steps runs one after the other until one fails.
func steps(all ...func() error) error {
	for _, step := range all {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (f *factory) localProvider(kind string, lens []int, everyLarge bool) error {
	all := []string{}
	for _, n := range lens {
		first := namedKey{"key1", secret(kind, n)}
		second := namedKey{"key2", secret(kind+" second", n)}
		other := namedKey{"key1", secret(kind+" other", n)}
		name := fmt.Sprintf("%d-byte key", n)
		err := steps(
			func() error { return f.reader(name, reader{Config: configuration(local(kind, first))}) },
			func() error {
				return f.reader(name+", rotated", reader{Config: configuration(local(kind, second, first), identity)})
			},
			func() error {
				return f.reader(name+", after identity", reader{Config: configuration(identity, local(kind, first))})
			},
			func() error {
				return f.reader(name+", another key of that name", reader{Config: configuration(local(kind, other))})
			},
			func() error {
				return f.reader(name+", its own after another of that name", reader{Config: configuration(local(kind, other, first))})
			},
		)
		if err != nil {
			return err
		}
		all = append(all, name)
		for _, size := range sizes {
			if _, err := f.write(fmt.Sprintf("%s, %d bytes", name, size), name, token, size, name, name+", rotated"); err != nil {
				return err
			}
		}
	}
	last := all[len(all)-1]
	names := []string{"a", "a:b", "with spaces ", "ключ", strings.Repeat("n", 300)}
	var named []namedKey
	for _, name := range names {
		key := namedKey{name, secret(kind+name, 32)}
		named = append(named, key)
		reading := "a key named " + name
		if err := f.reader(reading, reader{Config: configuration(local(kind, key))}); err != nil {
			return err
		}
	}
	if err := f.reader("every key name", reader{Config: configuration(local(kind, named...))}); err != nil {
		return err
	}
	for _, name := range names {
		reading := "a key named " + name
		if _, err := f.write(reading, reading, token, 33, reading, "every key name", last); err != nil {
			return err
		}
	}
	for _, at := range keys {
		if _, err := f.write("stored at: "+at.desc, last, at.key, 64, last); err != nil {
			return err
		}
	}
	others := []string{last, last + ", rotated", last + ", after identity", last + ", another key of that name", last + ", its own after another of that name", "every key name"}
	stored, err := f.writeUnambiguous(last, token, 40, others[3])
	if err == nil {
		err = f.add("read in other ways", token, stored, 40, others...)
	}
	if err != nil {
		return err
	}
	if everyLarge || kind == "secretbox" {
		if _, err := f.write("1 MiB", last, token, large, last); err != nil {
			return err
		}
	}
	prefix := len("k8s:enc:" + kind + ":v1:key1:")
	return f.broken(last, stored, prefix, kind != "aescbc", kind == "aesgcm")
}

// broken adds what must not be read. Of a CBC value only the ends say anything: what stands between is not authenticated.
func (f *factory) broken(reader string, stored []byte, prefix int, authenticated, bound bool) error {
	add := func(name string, key, stored []byte) error { return f.add(name, key, stored, -1, reader) }
	flip := func(at int) []byte {
		out := slices.Clone(stored)
		out[at] ^= 1
		return out
	}
	if bound {
		if err := add("at another key", []byte("/registry/secrets/default/other"), stored); err != nil {
			return err
		}
		if err := add("at no key", nil, stored); err != nil {
			return err
		}
	}
	if authenticated {
		for at, desc := range map[int]string{prefix: "first byte", prefix + 20: "21st byte", len(stored) - 1: "last byte"} {
			if err := add(desc+" altered", token, flip(at)); err != nil {
				return err
			}
		}
		if err := add("one byte more", token, append(slices.Clone(stored), 0)); err != nil {
			return err
		}
		if err := add("one byte less", token, stored[:len(stored)-1]); err != nil {
			return err
		}
	}
	for _, n := range []int{0, 1, 11, 12, 15, 16, 17, 27, 31, 39} {
		if err := add(fmt.Sprintf("only %d bytes after the prefix", n), token, stored[:prefix+n]); err != nil {
			return err
		}
	}
	return steps(
		func() error { return add("only half the prefix", token, stored[:prefix/2]) },
		func() error { return add("nothing", token, nil) },
		func() error { return add("plaintext", token, []byte("k8s\x00plain")) },
		func() error { return add("another version of the prefix", token, flip(slices.Index(stored, '1'))) },
	)
}

func (f *factory) identityProvider() error {
	if err := f.reader("identity", reader{Config: configuration(identity)}); err != nil {
		return err
	}
	after := local("aesgcm", namedKey{"key1", secret("aesgcm", 32)})
	if err := f.reader("identity after aesgcm", reader{Config: configuration(after, identity)}); err != nil {
		return err
	}
	for _, size := range append(slices.Clone(sizes), 64) {
		if _, err := f.write(fmt.Sprintf("%d bytes", size), "identity", token, size, "identity", "identity after aesgcm"); err != nil {
			return err
		}
	}
	for _, text := range []string{"k8s:enc:", "k8s:enc:aesgcm:v1:key1:", "k8s:enc:nobody:v9:x"} {
		if err := f.add(text, token, []byte(text), -1, "identity"); err != nil {
			return err
		}
	}
	return nil
}

func (f *factory) kmsV2(source string, everyLarge bool) error {
	noted := map[string][]byte{"kms.dekker.example": []byte("annotated"), "local.example.com": {0, 0xff, 0xfe}, "trailing.dot.example.": []byte("x")}
	f.annotations = map[string]map[string][]byte{"vault-noted": noted, "vault-much": {"much.example.com": []byte(strings.Repeat("v", 32000))}}
	// SetKDFForTests wants names of its own for each reader that is open at once.
	plain, other := "vault", "spare"
	v2 := func(name string) map[string]any { return kms("v2", name, nil) }
	turn := map[string]string{"seed": "key", "key": "seed"}[source]
	err := steps(
		func() error {
			return f.reader("current", reader{configuration(v2(plain)), source, map[string]string{plain: "kek-2026-01"}})
		},
		func() error {
			return f.reader("key ID rotated", reader{configuration(v2(plain)), source, map[string]string{plain: "kek-2026-02"}})
		},
		func() error {
			return f.reader("other DEK source", reader{configuration(v2(plain)), turn, map[string]string{plain: "kek-2026-01"}})
		},
		func() error {
			return f.reader("second provider", reader{configuration(v2(other), v2(plain), identity), source, map[string]string{plain: "kek-2026-01", other: "spare-1"}})
		},
		func() error {
			return f.reader("another provider", reader{configuration(v2(other)), source, map[string]string{other: "spare-1"}})
		},
		func() error {
			return f.reader("annotations", reader{configuration(v2("vault-noted")), source, map[string]string{"vault-noted": "kek"}})
		},
		func() error {
			return f.reader("many annotations", reader{configuration(v2("vault-much")), source, map[string]string{"vault-much": "kek"}})
		},
		func() error {
			return f.reader("longest key ID", reader{configuration(v2("vault-long")), source, map[string]string{"vault-long": strings.Repeat("ü", 512)}})
		},
		func() error {
			return f.reader("a name beyond ASCII", reader{configuration(v2("ключ 1")), source, map[string]string{"ключ 1": "k"}})
		},
	)
	if err != nil {
		return err
	}
	for _, size := range sizes {
		if _, err := f.write(fmt.Sprintf("%d bytes", size), "current", token, size, "current", "key ID rotated"); err != nil {
			return err
		}
	}
	for _, at := range keys {
		// Upstream's cache of derived keys panics without a storage key, which kube-apiserver never leaves out.
		if len(at.key) == 0 && source == "seed" {
			continue
		}
		if _, err := f.write("stored at: "+at.desc, "current", at.key, 64, "current"); err != nil {
			return err
		}
	}
	for _, writer := range []string{"annotations", "many annotations", "longest key ID", "a name beyond ASCII"} {
		if _, err := f.write("written with: "+writer, writer, token, 64, writer); err != nil {
			return err
		}
	}
	if everyLarge || source == "seed" {
		if _, err := f.write("1 MiB", "current", token, large, "current"); err != nil {
			return err
		}
	}
	stored, err := f.write("read in other ways", "current", token, 40, "current", "key ID rotated", "other DEK source", "second provider", "another provider")
	if err != nil {
		return err
	}
	prefix := "k8s:enc:kms:v2:" + plain + ":"
	remade := func(name string, change func(*kmstypes.EncryptedObject)) func() error {
		return func() error {
			var object kmstypes.EncryptedObject
			if err := proto.Unmarshal(stored[len(prefix):], &object); err != nil {
				return err
			}
			change(&object)
			out, err := proto.Marshal(&object)
			if err != nil {
				return err
			}
			return f.add(name, token, append([]byte(prefix), out...), 40, "current")
		}
	}
	raw := func(name string, suffix []byte) func() error {
		return func() error { return f.add(name, token, append(slices.Clone(stored), suffix...), 40, "current") }
	}
	data := func(o *kmstypes.EncryptedObject) []byte { return o.EncryptedData }
	return steps(
		remade("made anew", func(*kmstypes.EncryptedObject) {}),
		remade("first byte of the data altered", func(o *kmstypes.EncryptedObject) { data(o)[0] ^= 1 }),
		remade("last byte of the data altered", func(o *kmstypes.EncryptedObject) { data(o)[len(data(o))-1] ^= 1 }),
		remade("no data", func(o *kmstypes.EncryptedObject) { o.EncryptedData = nil }),
		remade("one byte of data", func(o *kmstypes.EncryptedObject) { o.EncryptedData = []byte{0} }),
		remade("12 bytes of data", func(o *kmstypes.EncryptedObject) { o.EncryptedData = data(o)[:12] }),
		remade("32 bytes of data", func(o *kmstypes.EncryptedObject) { o.EncryptedData = data(o)[:32] }),
		remade("44 bytes of data", func(o *kmstypes.EncryptedObject) { o.EncryptedData = data(o)[:44] }),
		remade("no key ID", func(o *kmstypes.EncryptedObject) { o.KeyID = "" }),
		remade("another key ID", func(o *kmstypes.EncryptedObject) { o.KeyID = "kek-2026-0" }),
		remade("a key ID of 1025 bytes", func(o *kmstypes.EncryptedObject) { o.KeyID = strings.Repeat("k", 1025) }),
		remade("no DEK source", func(o *kmstypes.EncryptedObject) { o.EncryptedDEKSource = nil }),
		remade("another DEK source", func(o *kmstypes.EncryptedObject) { o.EncryptedDEKSource[0] ^= 1 }),
		remade("a DEK source of 1025 bytes", func(o *kmstypes.EncryptedObject) { o.EncryptedDEKSource = make([]byte, 1025) }),
		remade("an annotation too many", func(o *kmstypes.EncryptedObject) {
			o.Annotations = map[string][]byte{"more.example.com": []byte("x")}
		}),
		remade("an annotation of one label", func(o *kmstypes.EncryptedObject) { o.Annotations = map[string][]byte{"one": nil} }),
		remade("an annotation in capitals", func(o *kmstypes.EncryptedObject) { o.Annotations = map[string][]byte{"A.example.com": nil} }),
		remade("annotations of 32769 bytes", func(o *kmstypes.EncryptedObject) {
			o.Annotations = map[string][]byte{"a.example": make([]byte, 32*1024-8)}
		}),
		remade("the other source type", func(o *kmstypes.EncryptedObject) { o.EncryptedDEKSourceType ^= 1 }),
		remade("an unknown source type", func(o *kmstypes.EncryptedObject) { o.EncryptedDEKSourceType = 2 }),
		remade("a negative source type", func(o *kmstypes.EncryptedObject) { o.EncryptedDEKSourceType = -1 }),
		raw("an unknown field", protowire.AppendBytes(protowire.AppendTag(nil, 100, protowire.BytesType), []byte("later"))),
		raw("an unknown group", protowire.AppendTag(protowire.AppendTag(nil, 9, protowire.StartGroupType), 9, protowire.EndGroupType)),
		raw("an unknown group that does not end", protowire.AppendTag(nil, 9, protowire.StartGroupType)),
		raw("the key ID twice", protowire.AppendString(protowire.AppendTag(nil, 2, protowire.BytesType), "kek-2026-01")),
		raw("a second key ID", protowire.AppendString(protowire.AppendTag(nil, 2, protowire.BytesType), "kek-2026-02")),
		raw("a key ID that is not UTF-8", protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), []byte{0xff})),
		raw("a known field of another wire type", protowire.AppendVarint(protowire.AppendTag(nil, 2, protowire.VarintType), 7)),
		raw("a length beyond the end", []byte{0x0a, 0x7f}),
		raw("half a varint", []byte{0x80}),
		raw("field number 0", []byte{0x02, 0x00}),
		func() error {
			return f.add("at another key", []byte("/registry/secrets/default/other"), stored, -1, "current")
		},
		func() error { return f.add("only the prefix", token, []byte(prefix), -1, "current") },
		func() error { return f.add("not protobuf", token, []byte(prefix+"{}"), -1, "current") },
		func() error { return f.add("one byte less", token, stored[:len(stored)-1], -1, "current") },
		func() error { return f.add("plaintext", token, []byte("k8s\x00plain"), -1, "current") },
	)
}

func (f *factory) kmsV1(everyLarge bool) error {
	v1 := func(name string) map[string]any { return kms("v1", name, nil) }
	err := steps(
		func() error {
			return f.reader("current", reader{Config: configuration(v1("old-vault")), KeyIDs: map[string]string{"old-vault": ""}})
		},
		func() error {
			keys := local("aesgcm", namedKey{"key1", secret("aesgcm", 32)})
			return f.reader("second provider", reader{Config: configuration(keys, v1("old-vault"), identity), KeyIDs: map[string]string{"old-vault": ""}})
		},
		func() error {
			return f.reader("another provider", reader{Config: configuration(v1("other")), KeyIDs: map[string]string{"other": ""}})
		},
		func() error {
			return f.reader("no cache", reader{Config: configuration(kms("v1", "old-vault", map[string]any{"cachesize": -1})), KeyIDs: map[string]string{"old-vault": ""}})
		},
	)
	if err != nil {
		return err
	}
	for _, size := range sizes {
		if _, err := f.write(fmt.Sprintf("%d bytes", size), "current", token, size, "current", "second provider", "no cache"); err != nil {
			return err
		}
	}
	for _, at := range keys {
		if _, err := f.write("stored at: "+at.desc, "current", at.key, 64, "current"); err != nil {
			return err
		}
	}
	// What kube-apiserver wrote before v1.25: AES-CBC.
	endpoint, stop, err := serveV1(f.dir, "old-vault", f.wallet)
	if err != nil {
		return err
	}
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	service, err := envelope.NewGRPCService(ctx, endpoint, time.Minute)
	if err != nil {
		return err
	}
	cbc := envelope.NewEnvelopeTransformer(service, -1, func(block cipher.Block) (value.Transformer, error) {
		return aestransformer.NewCBCTransformer(block), nil
	})
	prefix := "k8s:enc:kms:v1:old-vault:"
	for _, size := range sizes {
		out, err := cbc.TransformToStorage(ctx, pattern(size), value.DefaultContext(token))
		if err != nil {
			return err
		}
		if err := f.add(fmt.Sprintf("AES-CBC, %d bytes", size), token, append([]byte(prefix), out...), size, "current", "second provider", "no cache"); err != nil {
			return err
		}
	}
	if everyLarge {
		if _, err := f.write("1 MiB", "current", token, large, "current"); err != nil {
			return err
		}
	}
	stored, err := f.write("read in other ways", "current", token, 40, "current", "second provider", "another provider", "no cache")
	if err != nil {
		return err
	}
	// A GCM value that fails is tried as CBC, where it most often fails too: these say so, by chance of their bytes once made.
	data := len(prefix) + 2 + sha256.Size
	for _, cut := range []int{len(prefix), len(prefix) + 1, len(prefix) + 2, len(prefix) + 10, data, data + 12, data + 16, len(stored) - 1} {
		if err := f.add(fmt.Sprintf("only the first %d bytes", cut), token, stored[:cut], -1, "current"); err != nil {
			return err
		}
	}
	altered := slices.Clone(stored)
	altered[len(prefix)+5] ^= 1
	return f.add("another DEK", token, altered, -1, "current")
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

// lines writes a vector a line, for the sake of those who read a change of them.
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
