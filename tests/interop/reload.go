package main

import (
	"context"
	"net/http"
	"sync"
	"time"

	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig/controller"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig/metrics"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/component-base/metrics/legacyregistry"
)

// pollInterval is how often upstream's controller checks the file. kube-apiserver's minute would only make a test wait.
const pollInterval = 200 * time.Millisecond

// apiServerID is the ID of this API server.
const apiServerID = "interop"

// reloads is the state of upstream's controller.
type reloads struct {
	// Polls that have begun, polls that have ended, and the error of the last one that has ended.
	Begun   int64   `json:"begun"`
	Ended   int64   `json:"ended"`
	Error   string  `json:"error"`
	Success float64 `json:"success"`
	Failure float64 `json:"failure"`
	// Hash is the hash in last_config_info.
	Hash string `json:"hash"`
}

// watch loads a file and follows it, as kube-apiserver does with --encryption-provider-config-automatic-reload.
func (r *request) watch() (*loaded, error) {
	// Only the controller's queue shows that a poll has ended. Only the first provider that is set counts, and only for queues made after it.
	workqueue.SetProvider(polls)
	utilruntime.ErrorHandlers = []utilruntime.ErrorHandler{polls.failed}
	ctx, cancel := context.WithCancel(context.Background())
	served, closeServed := context.WithCancel(ctx)
	config, err := encryptionconfig.LoadEncryptionConfig(served, r.Config, true, apiServerID)
	if err != nil {
		closeServed()
		cancel()
		return nil, err
	}
	metrics.RecordEncryptionConfigLastConfigInfo(apiServerID, config.EncryptionFileContentHash)
	dynamic := encryptionconfig.NewDynamicTransformers(config.Transformers, config.HealthChecks[0], closeServed, config.KMSCloseGracePeriod)
	controller.EncryptionConfigFileChangePollDuration = pollInterval
	follower := controller.NewDynamicEncryptionConfiguration("interop", r.Config, dynamic, config.EncryptionFileContentHash, apiServerID)
	go follower.Run(ctx)
	return &loaded{transformers: dynamic, mux: endpoints([]healthz.HealthChecker{dynamic}), close: cancel}, nil
}

func (r *request) reloads() (*reloads, error) {
	all := &reloads{}
	all.Begun, all.Ended, all.Error = polls.soFar()
	return all, all.gather()
}

func (r *reloads) gather() error {
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		return err
	}
	for _, family := range families {
		for _, metric := range family.Metric {
			labels := map[string]string{}
			for _, label := range metric.Label {
				labels[label.GetName()] = label.GetValue()
			}
			switch family.GetName() + " " + labels["status"] {
			case "apiserver_encryption_config_controller_automatic_reloads_total success":
				r.Success = metric.Counter.GetValue()
			case "apiserver_encryption_config_controller_automatic_reloads_total failure":
				r.Failure = metric.Counter.GetValue()
			case "apiserver_encryption_config_controller_last_config_info ":
				r.Hash = labels["hash"]
			}
		}
	}
	return nil
}

// pollLog records the results of polls. A work queue reports how long an item waited when it begins with the item, and how long it worked when it is
// done. Before that, the controller passes its error to the error handlers.
type pollLog struct {
	mutex           sync.Mutex
	begun, ended    int64
	failure, latest string
}

var polls = &pollLog{}

func (p *pollLog) failed(_ context.Context, err error, _ string, _ ...any) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.failure = err.Error()
}

func (p *pollLog) begin(float64) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.begun++
}

func (p *pollLog) end(float64) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.ended++
	p.failure, p.latest = "", p.failure
}

func (p *pollLog) soFar() (begun, ended int64, failure string) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.begun, p.ended, p.latest
}

// observer is a histogram that calls a function with each value.
type observer func(float64)

func (o observer) Observe(value float64) { o(value) }

func (p *pollLog) NewLatencyMetric(string) workqueue.HistogramMetric      { return observer(p.begin) }
func (p *pollLog) NewWorkDurationMetric(string) workqueue.HistogramMetric { return observer(p.end) }

// ignored implements every other metric of a work queue.
type ignored struct{}

func (ignored) Inc()        {}
func (ignored) Dec()        {}
func (ignored) Set(float64) {}

func (*pollLog) NewDepthMetric(string) workqueue.GaugeMetric  { return ignored{} }
func (*pollLog) NewAddsMetric(string) workqueue.CounterMetric { return ignored{} }
func (*pollLog) NewUnfinishedWorkSecondsMetric(string) workqueue.SettableGaugeMetric {
	return ignored{}
}
func (*pollLog) NewLongestRunningProcessorSecondsMetric(string) workqueue.SettableGaugeMetric {
	return ignored{}
}
func (*pollLog) NewRetriesMetric(string) workqueue.CounterMetric { return ignored{} }

// endpoints returns the endpoints as kube-apiserver installs them: livez has no KMS checks.
func endpoints(kms []healthz.HealthChecker) *http.ServeMux {
	mux := http.NewServeMux()
	checks := append([]healthz.HealthChecker{healthz.PingHealthz}, kms...)
	healthz.InstallHandler(mux, checks...)
	healthz.InstallReadyzHandler(mux, checks...)
	healthz.InstallLivezHandler(mux, healthz.PingHealthz)
	return mux
}
