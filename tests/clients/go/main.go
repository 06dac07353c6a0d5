// Command kms-client is kube-apiserver's client of KMS v2 plugins: k8s.io/apiserver's own code, in the version that the module file names. Each line
// of standard input is `rounds N PARALLEL` or `status`, and each line of standard output is the result.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2"
	"k8s.io/klog/v2"
	kmsservice "k8s.io/kms/pkg/service"
)

// answer is one line of output: the number of successful rounds, and the errors of the others with their counts.
type answer struct {
	Done   int            `json:"done"`
	Faults map[string]int `json:"faults"`
}

func main() {
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	if len(os.Args) != 2 {
		fail(fmt.Errorf("usage: kms-client unix:///PATH"))
	}
	service, err := kmsv2.NewGRPCService(context.Background(), os.Args[1], "kms-client", 20*time.Second)
	if err != nil {
		fail(err)
	}
	lines, encoder := bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var n, parallel int
		made := round
		if lines.Text() == "status" {
			n, parallel, made = 1, 1, status
		} else if _, err := fmt.Sscanf(lines.Text(), "rounds %d %d", &n, &parallel); err != nil {
			fail(fmt.Errorf("%q: %w", lines.Text(), err))
		}
		if err := encoder.Encode(rounds(service, n, parallel, made)); err != nil {
			fail(err)
		}
	}
}

func rounds(service kmsservice.Service, n, parallel int, made func(kmsservice.Service, int) error) answer {
	var (
		wait  sync.WaitGroup
		mutex sync.Mutex
		all   = answer{Faults: map[string]int{}}
		next  = make(chan int)
	)
	for range parallel {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for i := range next {
				err := made(service, i)
				mutex.Lock()
				if err == nil {
					all.Done++
				} else {
					all.Faults[err.Error()]++
				}
				mutex.Unlock()
			}
		}()
	}
	for i := range n {
		next <- i
	}
	close(next)
	wait.Wait()
	return all
}

func status(service kmsservice.Service, _ int) error {
	_, err := service.Status(context.Background())
	return err
}

// round makes a Status, an Encrypt and a Decrypt call.
func round(service kmsservice.Service, i int) error {
	ctx, uid, seed := context.Background(), fmt.Sprint(i), []byte(fmt.Sprintf("a seed of 32 bytes, number %06d", i))
	if err := status(service, i); err != nil {
		return err
	}
	encrypted, err := service.Encrypt(ctx, uid, seed)
	if err != nil {
		return err
	}
	decrypted, err := service.Decrypt(ctx, uid, &kmsservice.DecryptRequest{
		Ciphertext: encrypted.Ciphertext, KeyID: encrypted.KeyID, Annotations: encrypted.Annotations,
	})
	if err != nil {
		return err
	}
	if !bytes.Equal(decrypted, seed) {
		return fmt.Errorf("another plaintext came back")
	}
	return nil
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "error:", err)
	os.Exit(1)
}
