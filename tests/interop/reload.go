package main

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig/controller"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig/metrics"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/component-base/metrics/legacyregistry"
)

// pollInterval is how often upstream's controller looks at the file; kube-apiserver's minute would only make a test wait.
const pollInterval = 200 * time.Millisecond

// apiServerID is what kube-apiserver would be called.
const apiServerID = "interop"

// reloads is what upstream's controller has done so far.
type reloads struct {
	// Polls that have ended: what they came to is in the rest.
	Polls   int64   `json:"polls"`
	Success float64 `json:"success"`
	Failure float64 `json:"failure"`
	// Hash is what last_config_info says.
	Hash string `json:"hash"`
}

// watch loads a file and follows it, as kube-apiserver does with --encryption-provider-config-automatic-reload.
func (r *request) watch() (*loaded, error) {
	// The controller's queue is what knows that a poll has ended. Only the first provider counts, and only for queues made after it.
	workqueue.SetProvider(polls)
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

// reloads is read whole: no poll ends while it is.
func (r *request) reloads() (*reloads, error) {
	for {
		all := &reloads{Polls: polls.ended.Load()}
		if err := all.gather(); err != nil {
			return nil, err
		}
		if all.Polls == polls.ended.Load() {
			return all, nil
		}
	}
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

// pollCounter counts the items that work queues are done with.
type pollCounter struct{ ended atomic.Int64 }

var polls = &pollCounter{}

func (p *pollCounter) Observe(float64) { p.ended.Add(1) }

func (p *pollCounter) NewWorkDurationMetric(string) workqueue.HistogramMetric { return p }

// ignored is every other metric of a work queue.
type ignored struct{}

func (ignored) Inc()            {}
func (ignored) Dec()            {}
func (ignored) Set(float64)     {}
func (ignored) Observe(float64) {}

func (*pollCounter) NewDepthMetric(string) workqueue.GaugeMetric       { return ignored{} }
func (*pollCounter) NewAddsMetric(string) workqueue.CounterMetric      { return ignored{} }
func (*pollCounter) NewLatencyMetric(string) workqueue.HistogramMetric { return ignored{} }
func (*pollCounter) NewUnfinishedWorkSecondsMetric(string) workqueue.SettableGaugeMetric {
	return ignored{}
}
func (*pollCounter) NewLongestRunningProcessorSecondsMetric(string) workqueue.SettableGaugeMetric {
	return ignored{}
}
func (*pollCounter) NewRetriesMetric(string) workqueue.CounterMetric { return ignored{} }

// endpoints are as kube-apiserver installs them: livez has no KMS checks.
func endpoints(kms []healthz.HealthChecker) *http.ServeMux {
	mux := http.NewServeMux()
	checks := append([]healthz.HealthChecker{healthz.PingHealthz}, kms...)
	healthz.InstallHandler(mux, checks...)
	healthz.InstallReadyzHandler(mux, checks...)
	healthz.InstallLivezHandler(mux, healthz.PingHealthz)
	return mux
}
