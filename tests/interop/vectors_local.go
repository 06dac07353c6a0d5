package main

import (
	"fmt"
	"slices"
	"strings"
)

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

// broken adds values that must not be read. CBC values are cut but not altered, because they are not authenticated.
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
