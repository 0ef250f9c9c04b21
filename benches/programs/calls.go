// What a system call costs inside a Go program: `calls ROUNDS` prints a line a round,
// "NAME NANOSECONDS", as calls.c does.
package main

import (
	"os"
	"strconv"
	"syscall"
	"time"
)

const batch = 200
const roundTime = 10 * time.Millisecond

func cost(call func()) float64 {
	calls, start := 0, time.Now()
	for time.Since(start) < roundTime {
		for i := 0; i < batch; i++ {
			call()
		}
		calls += batch
	}
	return float64(time.Since(start).Nanoseconds()) / float64(calls)
}

func main() {
	rounds := 1
	if len(os.Args) > 1 {
		rounds, _ = strconv.Atoi(os.Args[1])
	}
	for round := 0; round < rounds; round++ {
		nanoseconds := strconv.FormatFloat(cost(func() { syscall.Getppid() }), 'f', 3, 64)
		os.Stdout.WriteString("getppid " + nanoseconds + "\n")
	}
}
