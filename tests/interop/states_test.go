package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage/value"
	kmsv2 "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2"
	kmstypes "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2/v2"
	kmsservice "k8s.io/kms/pkg/service"
)

const aboutStates = "Histories of one KMS v2 provider named a: what its plugin answers from each step on, and what upstream's key state makes of it. " +
	"The provider is loaded at the first step; each later step comes advanceMs after the one before. Nothing probes but the health check that each step makes: " +
	"upstream's own polls are stopped. Of each step: the check's fault; the Status and Encrypt calls so far; what a write gives (the hash of its key ID, and which Encrypt " +
	"call made its DEK, or its error), and whether the first value ever written now reads as stale. uid=\"…\" in a text is random and shown as UID. " +
	"A key ID k*1025 stands for 1025 times k. unhealthyWithKeyId marks histories in which an unhealthy or misversioned answer names a valid key ID, which ours follows only with --kms-coast=upstream."

type statesFile struct {
	Format   int     `json:"format"`
	Producer string  `json:"producer"`
	Version  string  `json:"version"`
	About    string  `json:"about"`
	Start    int64   `json:"startMs"`
	Scripts  []*hist `json:"scripts"`
}

type hist struct {
	Name               string `json:"name"`
	DekSource          string `json:"dekSource"`
	UnhealthyWithKeyID bool   `json:"unhealthyWithKeyId,omitempty"`
	Steps              []step `json:"steps"`
}

// mood holds the plugin's answers.
type mood struct {
	Version string `json:"version"`
	Healthz string `json:"healthz"`
	KeyID   string `json:"keyId"`
	// EncryptKeyID is the key ID that Encrypt returns; if empty, KeyID.
	EncryptKeyID string `json:"encryptKeyId,omitempty"`
	// StatusFails and EncryptFails are the errors of those calls: "code message".
	StatusFails  string `json:"statusFails,omitempty"`
	EncryptFails string `json:"encryptFails,omitempty"`
	// Ciphertext is the length of Encrypt's ciphertext; -1 for a valid ciphertext.
	Ciphertext int    `json:"ciphertext"`
	Annotation string `json:"annotation,omitempty"`
}

type step struct {
	AdvanceMs int64  `json:"advanceMs"`
	Plugin    mood   `json:"plugin"`
	Health    string `json:"health,omitempty"`
	Status    int    `json:"statusCalls"`
	Encrypt   int    `json:"encryptCalls"`
	// KeyIDHash and Dek describe a write that succeeded.
	KeyIDHash string `json:"keyIdHash,omitempty"`
	Dek       int    `json:"dek,omitempty"`
	WriteErr  string `json:"writeError,omitempty"`
	Read      string `json:"read,omitempty"`
}

// TestRecord writes the behaviour of upstream's key state machine to the file that INTEROP_STATES names.
func TestRecord(t *testing.T) {
	out := os.Getenv("INTEROP_STATES")
	if out == "" {
		t.Skip("INTEROP_STATES names no file to write")
	}
	quiet()
	time.Local = time.UTC
	start := time.UnixMilli(1_767_323_045_000)
	file := statesFile{Format: 1, Producer: producer, Version: version(), About: aboutStates, Start: start.UnixMilli(), Scripts: scripts()}
	config := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(config, configuration(kms("v2", "a", nil)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, script := range file.Scripts {
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(time.Until(start))
			if err := script.play(config); err != nil {
				t.Fatalf("%s: %v", script.Name, err)
			}
		})
	}
	text, err := json.MarshalIndent(&file, "", "")
	if err != nil {
		t.Fatal(err)
	}
	// One step on each line.
	compact := regexp.MustCompile(`\n("|\}|\])`).ReplaceAllString(string(text), "$1")
	if err := os.WriteFile(out, []byte(compact+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

type scriptedPlugin struct {
	mood            mood
	status, encrypt int
	deks            map[string]int
}

func (p *scriptedPlugin) Status(context.Context) (*kmsservice.StatusResponse, error) {
	p.status++
	if err := failure(p.mood.StatusFails); err != nil {
		return nil, err
	}
	return &kmsservice.StatusResponse{Version: p.mood.Version, Healthz: p.mood.Healthz, KeyID: long(p.mood.KeyID)}, nil
}

func (p *scriptedPlugin) Encrypt(_ context.Context, _ string, plaintext []byte) (*kmsservice.EncryptResponse, error) {
	p.encrypt++
	if err := failure(p.mood.EncryptFails); err != nil {
		return nil, err
	}
	keyID := p.mood.EncryptKeyID
	if keyID == "" {
		keyID = p.mood.KeyID
	}
	ciphertext := fmt.Appendf(nil, "DEK %d", p.encrypt)
	if p.mood.Ciphertext >= 0 {
		ciphertext = make([]byte, p.mood.Ciphertext)
	}
	p.deks[string(ciphertext)] = p.encrypt
	answer := &kmsservice.EncryptResponse{Ciphertext: ciphertext, KeyID: long(keyID)}
	if p.mood.Annotation != "" {
		answer.Annotations = map[string][]byte{p.mood.Annotation: []byte("x")}
	}
	return answer, nil
}

func (p *scriptedPlugin) Decrypt(context.Context, string, *kmsservice.DecryptRequest) ([]byte, error) {
	return nil, errors.New("every DEK here is in upstream's cache")
}

// long expands a short form: k*1025 is a key ID of 1025 times k.
func long(keyID string) string {
	rest, ok := strings.CutPrefix(keyID, "k*")
	if !ok {
		return keyID
	}
	n, err := strconv.Atoi(rest)
	if err != nil {
		panic(err)
	}
	return strings.Repeat("k", n)
}

var uid = regexp.MustCompile(`uid="[^"]*"`)

func shown(err error) string {
	if err == nil {
		return ""
	}
	return uid.ReplaceAllString(err.Error(), `uid="UID"`)
}

func (s *hist) play(config string) error {
	plugin := &scriptedPlugin{deks: map[string]int{}, mood: s.Steps[0].Plugin}
	encryptionconfig.EnvelopeKMSv2ServiceFactory = func(context.Context, string, string, time.Duration) (kmsservice.Service, error) {
		return plugin, nil
	}
	if s.DekSource == "key" {
		defer encryptionconfig.SetKDFForTests("a", false)()
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	loaded, err := encryptionconfig.LoadEncryptionConfig(ctx, config, false, "")
	if err != nil {
		return err
	}
	cancel()
	synctest.Wait()
	transformer := encryptionconfig.StaticTransformers(loaded.Transformers).TransformerForResource(schema.GroupResource{Resource: "secrets"})
	at := value.DefaultContext("/k")
	background := context.Background()
	request, err := http.NewRequestWithContext(background, http.MethodGet, "/healthz", nil)
	if err != nil {
		return err
	}
	var first []byte
	for i := range s.Steps {
		step := &s.Steps[i]
		time.Sleep(time.Duration(step.AdvanceMs) * time.Millisecond)
		plugin.mood = step.Plugin
		step.Health = shown(loaded.HealthChecks[0].Check(request))
		step.Status, step.Encrypt = plugin.status, plugin.encrypt
		stored, err := transformer.TransformToStorage(background, []byte("hunter2"), at)
		if err != nil {
			step.WriteErr = shown(err)
		} else {
			var object kmstypes.EncryptedObject
			if err := proto.Unmarshal(stored[len("k8s:enc:kms:v2:a:"):], &object); err != nil {
				return err
			}
			step.KeyIDHash = kmsv2.GetHashIfNotEmpty(object.KeyID)
			step.Dek = plugin.deks[string(object.EncryptedDEKSource)]
			if first == nil {
				first = stored
			}
		}
		if first != nil {
			_, stale, err := transformer.TransformFromStorage(background, first, at)
			step.Read = map[bool]string{false: "ok", true: "stale"}[stale]
			if err != nil {
				step.Read = shown(err)
			}
		}
	}
	return nil
}

func well(keyID string) mood {
	return mood{Version: "v2", Healthz: "ok", KeyID: keyID, Ciphertext: -1}
}

func (m mood) with(change func(*mood)) mood {
	change(&m)
	return m
}

var (
	down       = well("kek-1").with(func(m *mood) { m.StatusFails = "14 out of reach" })
	moods      = map[string]mood{}
	moodsNames []string
)

func init() {
	add := func(name string, m mood) {
		moods[name] = m
		moodsNames = append(moodsNames, name)
	}
	for _, keyID := range []string{"kek-1", "kek-2"} {
		on := func(change func(*mood)) mood { return well(keyID).with(change) }
		add("well "+keyID, well(keyID))
		add("unhealthy "+keyID, on(func(m *mood) { m.Healthz = "tired" }))
		add("v3 "+keyID, on(func(m *mood) { m.Version = "v3" }))
		add("v2beta1 "+keyID, on(func(m *mood) { m.Version = "v2beta1" }))
		add("encrypt fails "+keyID, on(func(m *mood) { m.EncryptFails = "13 no key" }))
		add("encrypt ahead "+keyID, on(func(m *mood) { m.EncryptKeyID = "kek-9" }))
	}
	add("down", down)
	add("no key ID", well(""))
	add("unhealthy, no key ID", well("").with(func(m *mood) { m.Healthz = "tired" }))
	add("all wrong", mood{Version: "v9", Healthz: "", KeyID: "", Ciphertext: -1})
	add("key ID too long", well("k*1025"))
	add("longest key ID", well("k*1024"))
	add("no ciphertext", well("kek-3").with(func(m *mood) { m.Ciphertext = 0 }))
	add("ciphertext too long", well("kek-3").with(func(m *mood) { m.Ciphertext = 1025 }))
	add("bad annotation", well("kek-3").with(func(m *mood) { m.Annotation = "one" }))
	add("good annotation", well("kek-4").with(func(m *mood) { m.Annotation = "noted.example.com" }))
	add("encrypt names a key ID too long", well("kek-3").with(func(m *mood) { m.EncryptKeyID = "k*1025" }))
}

func scripts() []*hist {
	var all []*hist
	add := func(name string, steps ...step) {
		for _, source := range []string{"seed", "key"} {
			all = append(all, &hist{Name: name, DekSource: source, Steps: slices.Clone(steps)})
		}
	}
	at := func(seconds float64, mood mood) step {
		return step{AdvanceMs: int64(seconds * 1000), Plugin: mood}
	}
	on := func(seconds float64, name string) step {
		mood, ok := moods[name]
		if !ok {
			panic(name)
		}
		return at(seconds, mood)
	}
	one, two := well("kek-1"), well("kek-2")
	add("healthy throughout", at(0, one), at(1, one), at(19, one), at(20, one), at(60, one), at(179, one), at(600, one))
	add("rotates", at(0, one), at(20, two), at(20, two), at(20, one))
	add("down at first", at(0, down), at(1, one), at(2, one), at(20, one))
	add("down for less than three minutes", at(0, one), at(60, down), at(60, down), at(59, down), at(3, one))
	add("down to the expiry and past it", at(0, one), at(179, down), at(1, down), at(0.001, down), at(10, down), at(3, one), at(20, one))
	add("expired, then healthy with another key", at(0, one), at(600, down), at(3, two))
	add("a bad answer counts for three seconds", at(0, down), at(2.999, one), at(0.001, one))
	add("a good answer counts for twenty seconds", at(0, one), at(19.999, down), at(0.001, down))
	add("version changes", at(0, one), on(20, "v2beta1 kek-1"), on(3, "v2beta1 kek-1"), at(3, one))
	add("v2beta1 throughout", on(0, "v2beta1 kek-1"), on(20, "v2beta1 kek-1"), at(20, one))
	add("unhealthy for long, key ID valid", at(0, one), on(100, "unhealthy kek-1"), on(100, "unhealthy kek-1"), on(100, "unhealthy kek-1"), at(181, down), at(3, one))
	add("unhealthy from the start, key ID valid", on(0, "unhealthy kek-1"), on(3, "unhealthy kek-1"), at(3, one))
	add("unhealthy while it rotates", at(0, one), on(20, "unhealthy kek-2"), at(20, two))
	for _, name := range moodsNames {
		add("from the start: "+name, on(0, name), on(2, name), on(20, name), at(20, one))
		add("later: "+name, at(0, one), on(20, name), on(3, name), on(170, name), on(20, name), at(20, one))
	}
	times := []float64{0, 0.5, 2.9, 3, 5, 10, 19.5, 20, 45, 60, 100, 179, 180, 181, 600}
	for seed := range int64(50) {
		random := rand.New(rand.NewSource(seed))
		var steps []step
		for i := range 12 {
			advance := times[random.Intn(len(times))]
			if i == 0 {
				advance = 0
			}
			name := moodsNames[random.Intn(len(moodsNames))]
			if random.Intn(3) == 0 {
				name = "well kek-1"
			}
			steps = append(steps, on(advance, name))
		}
		add(fmt.Sprintf("random history %d", seed), steps...)
	}
	for _, script := range all {
		script.UnhealthyWithKeyID = slices.ContainsFunc(script.Steps, func(s step) bool {
			m := s.Plugin
			changed := m.Version != script.Steps[0].Plugin.Version
			return (m.Healthz != "ok" || m.Version == "v3" || changed) && m.KeyID != "" && m.KeyID != "k*1025"
		})
	}
	return all
}
