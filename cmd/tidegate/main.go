// Command tidegate is the controller and its command line. There is one file for each command, and no logic in them:
// flags, then a call, then a printed answer.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithCancelCause(context.Background())
	go obey(signals, cancel, time.Now, os.Exit)
	a := &app{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, env: os.Getenv, now: time.Now, location: time.Local,
	}
	os.Exit(a.run(ctx, os.Args[1:]))
}

// interruption is why a context ended: somebody asked for it.
type interruption struct{}

func (interruption) Error() string { return "interrupted" }

// Is makes it context.Canceled to errors.Is.
func (interruption) Is(target error) bool {
	return target == context.Canceled
}

// oneSignal is how close together signals count as one: timeout(1), for one, sends its signal to the process and to
// its group.
const oneSignal = 500 * time.Millisecond

// obey ends in order at the first signal, and at once at a second one.
func obey(signals <-chan os.Signal, cancel context.CancelCauseFunc, now func() time.Time, exit func(int)) {
	<-signals
	first := now()
	cancel(interruption{})
	for s := range signals {
		if now().Sub(first) < oneSignal {
			continue
		}
		code := 128
		if n, ok := s.(syscall.Signal); ok {
			code += int(n)
		}
		exit(code)
	}
}
