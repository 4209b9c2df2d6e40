// A worker for broker-queue. This file has the job functions; put your own into the table.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"
)

var handlers = map[string]Handler{
	"rehearsal.go":     rehearse,
	"text.fingerprint": fingerprint,
}

func main() {
	concurrency, err := strconv.Atoi(env("CONCURRENCY", "4"))
	if err != nil || concurrency < 1 {
		log.Fatal("CONCURRENCY must be a positive number")
	}
	url := env("BROKER_QUEUE_URL", "amqp://guest:guest@localhost:5672")
	if _, err := amqp.ParseURI(url); err != nil { // which would show the password
		log.Fatal("BROKER_QUEUE_URL must be amqp://user:password@host:port/vhost")
	}
	// The first signal stops the worker in order; a second one ends it at once.
	ctx, restore := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	go func() { <-ctx.Done(); restore() }()
	NewWorker(url, env("BROKER_QUEUE_NAMESPACE", "bq"), concurrency, handlers).Run(ctx)
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

// rehearse takes as long and fails as its args say, and returns them byte for byte.
func rehearse(ctx context.Context, job Job) (any, error) {
	var args struct {
		Seconds float64 `json:"seconds"`
		Fail    string  `json:"fail"`
	}
	if err := job.Decode(&args); err != nil {
		return nil, err
	}
	select {
	case <-time.After(time.Duration(args.Seconds * float64(time.Second))):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if args.Fail != "" {
		return nil, &Failure{Code: "rehearsed", Message: args.Fail}
	}
	return job.Args, nil
}

func fingerprint(_ context.Context, job Job) (any, error) {
	var args struct {
		Text *string `json:"text"`
	}
	if err := job.Decode(&args); err != nil {
		return nil, err
	}
	if args.Text == nil {
		return nil, InvalidArgs("text is missing")
	}
	sum := sha256.Sum256([]byte(*args.Text))
	return struct {
		SHA256     string `json:"sha256"`
		Bytes      int    `json:"bytes"`
		Characters int    `json:"characters"`
	}{hex.EncodeToString(sum[:]), len(*args.Text), utf8.RuneCountInString(*args.Text)}, nil
}
