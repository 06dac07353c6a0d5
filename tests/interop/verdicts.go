package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apiserver/pkg/apis/apiserver"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	kmsservice "k8s.io/kms/pkg/service"
	"k8s.io/kms/pkg/util"
)

// configCase is one line of config/corpus.jsonl. The first line of that file only has about, producer and version.
type configCase struct {
	About    string `json:"about,omitempty"`
	Producer string `json:"producer,omitempty"`
	Version  string `json:"version,omitempty"`

	Desc string `json:"desc,omitempty"`
	// The file, as text if it is UTF-8.
	File   *string `json:"file,omitempty"`
	Base64 []byte  `json:"base64,omitempty"`
	Reload bool    `json:"reload,omitempty"`
	// Differs is the reason why Dekker's verdict must differ.
	Differs  string    `json:"differs,omitempty"`
	Ours     string    `json:"ours,omitempty"`
	Upstream *upstream `json:"upstream,omitempty"`
}

type upstream struct {
	Accepted bool `json:"accepted"`
	// Stage is where the file was rejected: read, decode, validate, build or panic.
	Stage   string `json:"stage,omitempty"`
	Message string `json:"message,omitempty"`
	// Addresses are those of the KMS providers, in order.
	Addresses []string `json:"addresses,omitempty"`
}

// verdicts reads the corpus and writes it again, with upstream's current verdicts.
func verdicts(in io.Reader, out io.Writer) error {
	dir, err := os.MkdirTemp("/tmp", "dk")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<26)
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	for lines.Scan() {
		var c configCase
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return err
		}
		if c.About != "" {
			c.Producer, c.Version = producer, version()
		} else {
			c.judge(dir)
		}
		if err := encoder.Encode(c); err != nil {
			return err
		}
	}
	return lines.Err()
}

func (c *configCase) bytes() []byte {
	if c.File != nil {
		return []byte(*c.File)
	}
	return c.Base64
}

func (c *configCase) judge(dir string) {
	data := c.bytes()
	if c.File == nil && utf8.Valid(data) {
		text := string(data)
		c.File, c.Base64 = &text, nil
	}
	path := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		panic(err)
	}
	c.Upstream = load(path, c.Reload)
	if c.Upstream.Accepted {
		c.Upstream.Addresses = addresses(data)
	}
}

// load returns the verdict of upstream's loader. It does not wait for plugins: those of KMS v2 are unreachable, and those of KMS v1 are not asked at
// load.
func load(path string, reload bool) (verdict *upstream) {
	defer func() {
		if r := recover(); r != nil {
			verdict = &upstream{Stage: "panic", Message: fmt.Sprint(r)}
		}
	}()
	encryptionconfig.EnvelopeKMSv2ServiceFactory = func(_ context.Context, endpoint, _ string, _ time.Duration) (kmsservice.Service, error) {
		if _, err := util.ParseEndpoint(endpoint); err != nil {
			return nil, err
		}
		return outOfReach{}, nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	_, err := encryptionconfig.LoadEncryptionConfig(ctx, path, reload, "")
	if err == nil {
		return &upstream{Accepted: true}
	}
	text := strings.ReplaceAll(err.Error(), path, "FILE")
	for _, stage := range []struct{ name, prefix string }{
		{"read", "error while parsing file: error while loading file: "},
		{"decode", "error while parsing file: error decoding encryption provider configuration file \"FILE\": "},
		{"decode", "error while parsing file: got unexpected config type: "},
		{"build", "error while building transformers: "},
		{"validate", "error while parsing file: "},
	} {
		if rest, ok := strings.CutPrefix(text, stage.prefix); ok {
			return &upstream{Stage: stage.name, Message: rest}
		}
	}
	return &upstream{Stage: "unknown", Message: text}
}

type outOfReach struct{ kmsservice.Service }

func (outOfReach) Status(context.Context) (*kmsservice.StatusResponse, error) {
	return nil, fmt.Errorf("out of reach")
}

// addresses decodes the file again, as the loader does, to find the addresses that it would dial.
func addresses(data []byte) (out []string) {
	scheme := runtime.NewScheme()
	utilruntime.Must(apiserver.AddToScheme(scheme))
	utilruntime.Must(apiserverv1.AddToScheme(scheme))
	object, _, err := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDecoder().Decode(data, nil, nil)
	if err != nil {
		panic(err)
	}
	for _, rule := range object.(*apiserver.EncryptionConfiguration).Resources {
		for _, provider := range rule.Providers {
			if provider.KMS != nil {
				address, err := util.ParseEndpoint(provider.KMS.Endpoint)
				if err != nil {
					panic(err)
				}
				out = append(out, strings.ToValidUTF8(address, "\ufffd"))
			}
		}
	}
	return out
}
