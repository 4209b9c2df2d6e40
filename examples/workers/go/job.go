package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	protocol       = 1
	longestMessage = 20000    // characters of the message of a failure
	largestResult  = 15 << 20 // bytes; a broker closes the channel of who sends more than it takes
)

// Handler runs a job. Its context ends when the job is canceled: return soon then. A json.RawMessage
// goes out as it is, any other result as json.Marshal has it.
type Handler func(ctx context.Context, job Job) (any, error)

// Job is what a handler gets. Its ID stays the same over all attempts.
type Job struct {
	ID, Type string
	Attempt  int64
	Args     json.RawMessage
}

// Decode puts the args, which must be an object, into the struct that args points to.
func (j Job) Decode(args any) error {
	if !bytes.HasPrefix(bytes.TrimSpace(j.Args), []byte("{")) {
		return InvalidArgs("the args are no object")
	}
	if err := json.Unmarshal(j.Args, args); err != nil {
		return InvalidArgs(err.Error())
	}
	return nil
}

// Failure fails an attempt with a code of its own. Any other error has the code "error".
type Failure struct {
	Code, Message string
	Final         bool // no further attempt, however many are left
}

func (f *Failure) Error() string { return f.Message }

// InvalidArgs fails a job that no further attempt makes right.
func InvalidArgs(message string) error {
	return &Failure{Code: "invalid_args", Message: message, Final: true}
}

// A handOver is a job from its arrival until its message and its report are settled.
type handOver struct {
	Job
	token    string
	doubtful bool // delivered before, perhaps: it needs a claim
	ctx      context.Context
	cancel   context.CancelFunc

	// Guarded by the worker's mutex.
	session *session       // that brought its message
	message *amqp.Delivery // nil once it is acknowledged
	began   time.Time      // zero if it has not
	leased  bool           // held without a message
}

// isForgotten returns whether its message comes again, to this worker or another, before it has begun here.
func (j *handOver) isForgotten() bool { return j.began.IsZero() && j.session.isLost() }

// acknowledge settles the job's message once; the worker's mutex is held.
func (j *handOver) acknowledge() {
	if j.message != nil {
		j.message.Ack(false) // fails if its connection is lost: then the message comes again
	}
	j.message = nil
}

// read refuses what is no job, and jobs of a later protocol.
func read(ctx context.Context, s *session, message amqp.Delivery) (*handOver, error) {
	numbers := map[string]int64{}
	for name, least := range map[string]int64{"protocol": 1, "attempt": 1, "max_attempts": 1, "dependency_count": 0} {
		value := reflect.ValueOf(message.Headers[name]) // of any size that the broker chose
		if !value.IsValid() || !value.CanInt() || value.Int() < least {
			return nil, fmt.Errorf("wrong header %s", name)
		}
		numbers[name] = value.Int()
	}
	if numbers["protocol"] > protocol {
		return nil, fmt.Errorf("its protocol is %d", numbers["protocol"])
	}
	republished, _ := message.Headers["republished"].(bool)
	job := &handOver{
		Job:      Job{message.MessageId, message.Type, numbers["attempt"], message.Body},
		token:    message.CorrelationId,
		doubtful: message.Redelivered || republished,
		session:  s,
		message:  &message,
	}
	job.ctx, job.cancel = context.WithCancel(ctx)
	return job, nil
}

// run returns the type and the body of the report.
func (j *handOver) run(handler Handler) (string, []byte) {
	result, err := call(j.ctx, handler, j.Job)
	if j.ctx.Err() != nil {
		return "released", reason("stopped while it ran")
	}
	body, ready := result.(json.RawMessage)
	if err == nil && !ready {
		body, err = json.Marshal(result)
	}
	if err == nil && len(body) > largestResult {
		err = &Failure{Code: "too_large", Message: fmt.Sprintf("a result of %d bytes", len(body)), Final: true}
	}
	if err == nil {
		return "finished", body
	}
	failure := &Failure{Code: "error", Message: err.Error()}
	errors.As(err, &failure)
	message := []rune(failure.Message)
	if len(message) > longestMessage {
		message = message[:longestMessage]
	}
	return "failed", encode(map[string]any{
		"code": failure.Code, "message": string(message), "retry": !failure.Final,
	})
}

// call makes a panic a failed attempt.
func call(ctx context.Context, handler Handler, job Job) (result any, err error) {
	if handler == nil {
		return nil, &Failure{Code: "unknown_type", Message: "no function for " + job.Type}
	}
	defer func() {
		if problem := recover(); problem != nil {
			err = &Failure{Code: "panic", Message: fmt.Sprint(problem)}
		}
	}()
	return handler(ctx, job)
}

func reason(text string) []byte { return encode(map[string]string{"reason": text}) }

func encode(body any) []byte {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // only of what has no JSON, and all bodies of ours have
	}
	return text
}
