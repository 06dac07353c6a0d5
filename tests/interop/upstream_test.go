package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// mapped lists the packages whose tests are in ../UPSTREAM.md.
var mapped = []string{
	"pkg/apis/apiserver/validation",
	"pkg/server/healthz",
	"pkg/server/options/encryptionconfig",
	"pkg/server/options/encryptionconfig/controller",
	"pkg/server/options/encryptionconfig/metrics",
	"pkg/storage/value",
	"pkg/storage/value/encrypt/aes",
	"pkg/storage/value/encrypt/envelope",
	"pkg/storage/value/encrypt/envelope/kmsv2",
	"pkg/storage/value/encrypt/envelope/metrics",
	"pkg/storage/value/encrypt/identity",
	"pkg/storage/value/encrypt/secretbox",
}

// TestListed fails if ../upstream_tests.txt does not list the tests that upstream has in those packages, at the version in go.mod. With INTEROP_TESTS
// it writes the list instead.
func TestListed(t *testing.T) {
	module, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", producer).Output()
	if err != nil {
		t.Fatal(err)
	}
	head := regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)
	var lines []string
	for _, pkg := range mapped {
		files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(module)), pkg, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, match := range head.FindAllStringSubmatch(string(text), -1) {
				lines = append(lines, pkg+" "+match[1])
			}
		}
	}
	slices.Sort(lines)
	version, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", producer).Output()
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%s %s%s\n", producer, version, strings.Join(lines, "\n"))
	const list = "../upstream_tests.txt"
	if os.Getenv("INTEROP_TESTS") != "" {
		if err := os.WriteFile(list, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what upstream has; write it anew with INTEROP_TESTS=1 and see what ../UPSTREAM.md lacks", list)
	}
}
