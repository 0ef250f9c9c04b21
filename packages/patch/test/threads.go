// Goroutines on many threads, timers, signals, files: the system calls of Go's own runtime.
package main

import (
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

func main() {
	var group sync.WaitGroup
	var lock sync.Mutex
	sum := 0
	for worker := 0; worker < 16; worker++ {
		group.Add(1)
		go func(worker int) {
			defer group.Done()
			runtime.LockOSThread()
			for turn := 0; turn < 100; turn++ {
				file, err := os.Open("/proc/self/stat")
				if err != nil {
					panic(err)
				}
				file.Close()
				lock.Lock()
				sum += worker
				lock.Unlock()
			}
			time.Sleep(time.Millisecond)
		}(worker)
	}
	group.Wait()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	syscall.Kill(os.Getpid(), syscall.SIGUSR1)
	os.Stdout.WriteString(strconv.Itoa(sum) + " " + (<-signals).String() + "\n")
	// Nothing in this loop lets go of the processor by itself: the runtime sends a signal.
	done := make(chan bool)
	runtime.GOMAXPROCS(1)
	go func() { done <- true }()
	for turns, stop := 0, false; !stop; turns++ {
		if turns%1000000 == 0 {
			select {
			case stop = <-done:
			default:
			}
		}
	}
	os.Stdout.WriteString("done\n")
}
