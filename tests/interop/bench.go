package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage/value"
)

// values is the number of values of a size that are read in turn: as many as make 1 MiB, but at least 4 and at most 64.
func values(size int) int { return min(max((1<<20)/max(size, 1), 4), 64) }

// bench prints what it is, and then answers each line, `kmsv2 <write or read> <counter or seed> <size> <n>`, with the nanoseconds that n operations
// took. All values have one DEK, which is cached.
func bench(in io.Reader, out io.Writer) error {
	dir, err := os.MkdirTemp("", "interop")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	f := newFactory(dir)
	defer f.close()
	names := map[string]string{"counter": "key", "seed": "seed"}
	for name, source := range names {
		provider := "vault-" + source
		r := reader{configuration(kms("v2", provider, nil)), source, map[string]string{provider: "kek-2026-01"}}
		if err := f.reader(name, r); err != nil {
			return err
		}
		if source == "key" {
			// Otherwise the poll of each minute would replace the key by a seed.
			defer encryptionconfig.SetKDFForTests(provider, false)()
		}
	}
	if _, err := fmt.Fprintf(out, "%s %s, %s\n", producer, version(), runtime.Version()); err != nil {
		return err
	}
	stored := map[string][][]byte{}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var subject, op, source string
		var size, n int
		if _, err := fmt.Sscan(lines.Text(), &subject, &op, &source, &size, &n); err != nil {
			return err
		}
		if _, ok := names[source]; !ok || subject != "kmsv2" {
			return fmt.Errorf("nothing does this: %s", lines.Text())
		}
		took, err := f.time(op, source, size, n, stored)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(out, took.Nanoseconds()); err != nil {
			return err
		}
	}
	return lines.Err()
}

func (f *factory) time(op, source string, size, n int, stored map[string][][]byte) (time.Duration, error) {
	ctx, at := context.Background(), value.DefaultContext(token)
	transformer := f.transformer(source)
	text := pattern(size)
	if op == "write" {
		start := time.Now()
		for range n {
			if _, err := transformer.TransformToStorage(ctx, text, at); err != nil {
				return 0, err
			}
		}
		return time.Since(start), nil
	}
	name := fmt.Sprint(source, size)
	for len(stored[name]) < values(size) {
		out, err := transformer.TransformToStorage(ctx, text, at)
		if err != nil {
			return 0, err
		}
		stored[name] = append(stored[name], out)
	}
	all := stored[name]
	start := time.Now()
	for i := range n {
		out, stale, err := transformer.TransformFromStorage(ctx, all[i%len(all)], at)
		if err != nil {
			return 0, err
		}
		if stale || len(out) != size {
			return 0, fmt.Errorf("another value")
		}
	}
	return time.Since(start), nil
}
