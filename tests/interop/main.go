// Command interop is upstream's side of Dekker's interoperability harness: it runs k8s.io/apiserver's own code to record what it writes, reads,
// accepts and reports. `cargo xtask interop` drives it; see tests/interop/README.md.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/klog/v2"
)

const (
	producer = "k8s.io/apiserver"
	usage    = `usage: interop vectors [--every-large] OUTDIR    write vectors of every provider
       interop verdicts < CASES > RECORDED    what upstream's loader says of configuration files
       interop peer                           read, write and answer health checks over standard input and output
       interop bench                          time reads and writes, as standard input asks
`
)

func main() {
	quiet()
	// Clusters that once enabled KMS v1 still read its values.
	if err := utilfeature.DefaultMutableFeatureGate.Set("KMSv1=true"); err != nil {
		fail(err)
	}
	if len(os.Args) < 2 {
		fail(fmt.Errorf("say what to do\n%s", usage))
	}
	var err error
	switch args := os.Args[2:]; os.Args[1] {
	case "vectors":
		err = vectors(args)
	case "verdicts":
		err = verdicts(os.Stdin, os.Stdout)
	case "peer":
		err = peer(os.Stdin, os.Stdout)
	case "bench":
		err = bench(os.Stdin, os.Stdout)
	default:
		err = fmt.Errorf("there is no command %q\n%s", os.Args[1], usage)
	}
	if err != nil {
		fail(err)
	}
}

// quiet keeps upstream's log out of the output. The answers contain what upstream reports.
func quiet() {
	flags := flag.NewFlagSet("klog", flag.PanicOnError)
	klog.InitFlags(flags)
	_ = flags.Set("logtostderr", "false")
	_ = flags.Set("stderrthreshold", "FATAL")
	klog.SetOutput(io.Discard)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "error:", err)
	os.Exit(1)
}

// version returns the producer's version, as built into this program.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, dep := range info.Deps {
			if dep.Path == producer {
				return dep.Version
			}
		}
	}
	return "unknown"
}
