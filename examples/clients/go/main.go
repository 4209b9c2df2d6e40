// A client for broker-queue: submits two jobs, the second with the result of the first; waits, looks, cancels.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
)

const usage = `usage: client submit TEXT    enqueue two jobs, print their ids
       client status ID…     print what is known of jobs
       client wait ID…       the same, once they have ended; exit code 1 if one did not finish
       client cancel ID…     cancel jobs`

const waitSeconds = 20 // of one request; the next one follows

func main() {
	log.SetFlags(0)
	if len(os.Args) < 3 {
		log.Fatal(usage)
	}
	scheduler, err := Connect(
		env("BROKER_QUEUE_URL", "amqp://guest:guest@localhost:5672"), env("BROKER_QUEUE_NAMESPACE", "bq"))
	if err != nil {
		log.Fatal(err)
	}
	defer scheduler.Close()
	if err := run(scheduler, os.Args[1], os.Args[2:]); err != nil {
		log.Fatal(err)
	}
}

func run(scheduler *Scheduler, command string, args []string) error {
	switch command {
	case "submit":
		return submit(scheduler, args[0])
	case "status":
		_, err := status(scheduler, args)
		return err
	case "wait":
		return wait(scheduler, args)
	case "cancel":
		var answer json.RawMessage
		if err := scheduler.Ask("cancel", map[string]any{"jobs": args}, &answer); err != nil {
			return err
		}
		fmt.Println(string(answer))
		return nil
	}
	return fmt.Errorf("%s is no command\n%s", command, usage)
}

// submit names its jobs by ids of its own, so it could be repeated if nobody answered.
func submit(scheduler *Scheduler, text string) error {
	first, second := NewID(), NewID()
	jobs := []map[string]any{
		{"id": first, "type": "text.fingerprint", "args": map[string]any{"text": text}},
		{
			"id": second, "type": "rehearsal.go", "args": map[string]any{"fingerprint": nil},
			// The result of job 0 comes in place of the null; so the second job waits for the first.
			"references": []map[string]any{{"at": "/fingerprint", "job": 0}},
		},
	}
	if err := scheduler.Ask("submit", map[string]any{"jobs": jobs}, nil); err != nil {
		return err
	}
	fmt.Println(first)
	fmt.Println(second)
	return nil
}

// status prints one line for each job, and returns whether all have finished.
func status(scheduler *Scheduler, ids []string) (finished bool, err error) {
	finished = true
	for len(ids) > 0 {
		var page struct {
			Jobs []json.RawMessage
			More []string // did not fit the answer
		}
		if err := scheduler.Ask("status", map[string]any{"jobs": ids}, &page); err != nil {
			return false, err
		}
		for _, text := range page.Jobs {
			var job struct{ State string }
			if err := json.Unmarshal(text, &job); err != nil {
				return false, err
			}
			finished = finished && job.State == "finished"
			fmt.Println(string(text))
		}
		ids = page.More
	}
	return finished, nil
}

func wait(scheduler *Scheduler, ids []string) error {
	for open := ids; len(open) > 0; {
		var waited struct{ Open []string }
		if err := scheduler.Ask("wait", map[string]any{"jobs": open, "timeout": waitSeconds}, &waited); err != nil {
			return err
		}
		open = waited.Open
	}
	finished, err := status(scheduler, ids)
	if err == nil && !finished {
		err = errors.New("not all of them finished")
	}
	return err
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}
