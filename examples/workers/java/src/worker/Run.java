package worker;

import java.time.Duration;
import java.util.Map;
import java.util.concurrent.Future;

/** A job in this worker's hands, from its message until that is settled. */
final class Run {
    enum State { WAITING, CLAIMING, RUNNING, ENDED }

    static final String WORKER_STOPS = "the worker stops";
    private static long count;

    final Message message;
    final String question = Long.toString(++count); // the message id of what is asked about it
    State state = State.WAITING;
    Long tag; // of the message to be acknowledged; none if it is held by lease, or was lost with its connection
    Duration lease; // how long the last answer grants; none without a lease
    Report end;
    private long startedAt;
    private Thread thread;
    private Future<?> timer;
    private String stopped;

    Run(Message message, long tag) {
        this.message = message;
        this.tag = tag;
    }

    boolean isBegun() {
        return startedAt != 0; // which what was given back unrun has not
    }

    boolean takesSlot() {
        return state == State.RUNNING || state == State.CLAIMING;
    }

    void start(Runnable work) {
        state = State.RUNNING;
        startedAt = System.currentTimeMillis();
        thread = new Thread(work, message.type() + " " + message.id());
        thread.setDaemon(true);
        thread.start();
    }

    /** Has one timer at most: what comes next. */
    void next(Future<?> timer) {
        if (this.timer != null) {
            this.timer.cancel(false);
        }
        this.timer = timer;
    }

    /** Asks the handler to stop; the job then counts as given back, but if it finishes as the worker stops. */
    void interrupt(String reason) {
        if (stopped == null || stopped.equals(WORKER_STOPS)) { // a cancel has the last word
            stopped = reason;
        }
        next(null);
        thread.interrupt();
    }

    void end(Report report) {
        state = State.ENDED;
        boolean isKept = stopped == null || stopped.equals(WORKER_STOPS) && report instanceof Report.Finished;
        end = isKept ? report : new Report.Released(stopped);
        next(null);
    }

    Map<String, Object> headers() {
        return startedAt == 0 ? Map.of() : Map.of("started", startedAt);
    }
}
