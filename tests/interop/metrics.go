package main

import (
	"slices"
	"strings"

	"k8s.io/component-base/metrics/legacyregistry"
)

// sample is one value of a metric; for a histogram, its count.
type sample struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels"`
	Value  float64           `json:"value"`
}

// gather returns the metrics of upstream's code in this process. Its packages register their metrics when they are loaded.
func gather() ([]sample, error) {
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		return nil, err
	}
	ours := []string{"apiserver_storage_", "apiserver_envelope_encryption_"}
	samples := []sample{}
	for _, family := range families {
		has := func(prefix string) bool { return strings.HasPrefix(family.GetName(), prefix) }
		if !slices.ContainsFunc(ours, has) {
			continue
		}
		for _, metric := range family.GetMetric() {
			s := sample{Name: family.GetName(), Labels: map[string]string{}}
			for _, label := range metric.GetLabel() {
				s.Labels[label.GetName()] = label.GetValue()
			}
			switch {
			case metric.GetHistogram() != nil:
				s.Name += "_count"
				s.Value = float64(metric.GetHistogram().GetSampleCount())
			case metric.GetCounter() != nil:
				s.Value = metric.GetCounter().GetValue()
			default:
				s.Value = metric.GetGauge().GetValue()
			}
			samples = append(samples, s)
		}
	}
	return samples, nil
}
