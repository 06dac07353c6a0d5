package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage/value"
)

// request is one line of input. op is load, watch, write, read, health, reloads, plugin, metrics or close; name is the name for what load or watch
// loaded.
type request struct {
	Op   string `json:"op"`
	Name string `json:"name"`
	// load and watch: a file; load: whether it may be reloaded, and the KMS v2 providers that must write keys instead of seeds.
	Config string   `json:"config"`
	Reload bool     `json:"reload"`
	Keys   []string `json:"keys"`
	// load: the ID of this server, whose hash is in the metrics.
	ServerID string `json:"serverId"`
	// write and read
	Resource  string `json:"resource"`
	Key       []byte `json:"key"`
	Plaintext []byte `json:"plaintext"`
	Stored    []byte `json:"stored"`
	// health: path and query
	Path string `json:"path"`
	// plugin: a KMS v1 plugin on the socket at path, which answers in this mood from now on.
	Mood moodV1 `json:"mood"`
}

// answer is one line of output.
type answer struct {
	Error     string            `json:"error,omitempty"`
	Plaintext []byte            `json:"plaintext,omitempty"`
	Stored    []byte            `json:"stored,omitempty"`
	Stale     bool              `json:"stale,omitempty"`
	Status    int               `json:"status,omitempty"`
	Body      string            `json:"body,omitempty"`
	Headers   map[string]string `json:"headers,omitempty"`
	Samples   []sample          `json:"samples,omitempty"`
	Reloads   *reloads          `json:"reloads,omitempty"`
}

// loaded is kube-apiserver's side of one configuration.
type loaded struct {
	transformers value.ResourceTransformers
	mux          *http.ServeMux
	close        func()
}

// everything holds what the requests have started.
type everything struct {
	loaded  map[string]*loaded
	plugins map[string]*pluginV1
}

// peer answers each line with a line, until the input ends.
func peer(in io.Reader, out io.Writer) error {
	all := &everything{loaded: map[string]*loaded{}, plugins: map[string]*pluginV1{}}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<26)
	encoder := json.NewEncoder(out)
	for lines.Scan() {
		var r request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return err
		}
		var a answer
		if err := r.do(all, &a); err != nil {
			a.Error = err.Error()
		}
		if err := encoder.Encode(a); err != nil {
			return err
		}
	}
	return lines.Err()
}

func (r *request) do(all *everything, a *answer) (err error) {
	switch r.Op {
	case "load":
		all.loaded[r.Name], err = r.load()
		return err
	case "watch":
		all.loaded[r.Name], err = r.watch()
		return err
	case "metrics":
		a.Samples, err = gather()
		return err
	case "plugin":
		return r.plugin(all)
	}
	l, ok := all.loaded[r.Name]
	if !ok {
		return fmt.Errorf("nothing is loaded as %q", r.Name)
	}
	at := value.DefaultContext(r.Key)
	transformer := l.transformers.TransformerForResource(schema.ParseGroupResource(r.Resource))
	switch r.Op {
	case "write":
		a.Stored, err = transformer.TransformToStorage(context.Background(), r.Plaintext, at)
	case "read":
		a.Plaintext, a.Stale, err = transformer.TransformFromStorage(context.Background(), r.Stored, at)
	case "health":
		recorder := httptest.NewRecorder()
		l.mux.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, r.Path, nil))
		a.Status, a.Body, a.Headers = recorder.Code, recorder.Body.String(), map[string]string{}
		for _, name := range []string{"Content-Type", "X-Content-Type-Options"} {
			// Only the headers that the handler itself set: net/http would guess missing ones.
			if value := recorder.Result().Header.Get(name); value != "" {
				a.Headers[name] = value
			}
		}
	case "reloads":
		a.Reloads, err = r.reloads()
	case "close":
		l.close()
		delete(all.loaded, r.Name)
	default:
		err = fmt.Errorf("there is no op %q", r.Op)
	}
	return err
}

func (r *request) load() (*loaded, error) {
	var undo []func()
	for _, provider := range r.Keys {
		undo = append(undo, encryptionconfig.SetKDFForTests(provider, false))
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &loaded{close: func() {
		cancel()
		for _, undo := range undo {
			undo()
		}
	}}
	config, err := encryptionconfig.LoadEncryptionConfig(ctx, r.Config, r.Reload, r.ServerID)
	if err != nil {
		l.close()
		return nil, err
	}
	l.transformers, l.mux = encryptionconfig.StaticTransformers(config.Transformers), endpoints(config.HealthChecks)
	return l, nil
}

func (r *request) plugin(all *everything) (err error) {
	if p, ok := all.plugins[r.Path]; ok {
		p.mood.Store(&r.Mood)
		return nil
	}
	all.plugins[r.Path], err = serveV1(r.Path, r.Path, &wallet{}, &r.Mood)
	return err
}
