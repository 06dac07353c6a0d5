package main

import (
	"context"
	"crypto/cipher"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"k8s.io/apiserver/pkg/storage/value"
	aestransformer "k8s.io/apiserver/pkg/storage/value/encrypt/aes"
	"k8s.io/apiserver/pkg/storage/value/encrypt/envelope"
	kmstypes "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2/v2"
)

func (f *factory) kmsV2(source string, everyLarge bool) error {
	noted := map[string][]byte{"kms.dekker.example": []byte("annotated"), "local.example.com": {0, 0xff, 0xfe}, "trailing.dot.example.": []byte("x")}
	f.annotations = map[string]map[string][]byte{"vault-noted": noted, "vault-much": {"much.example.com": []byte(strings.Repeat("v", 32000))}}
	// SetKDFForTests needs different provider names for readers that are open at the same time.
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
		// Upstream's cache of derived keys panics without a storage key, which kube-apiserver always passes.
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
	// Values as kube-apiserver wrote them before v1.25: AES-CBC.
	endpoint, stop, err := serveHealthyV1(f.dir, "old-vault", f.wallet)
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
	// A GCM value that fails is tried as CBC, which usually fails too. For these values it does fail; that depends on their bytes, which were random
	// once.
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
