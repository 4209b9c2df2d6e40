package worker;

import java.time.Duration;
import java.util.Map;

/** Starts the worker, and stops it in order on SIGTERM or Ctrl-C. */
public final class Main {
    private static final Duration TIME_TO_FINISH = Duration.ofSeconds(25);

    private Main() {}

    public static void main(String[] arguments) {
        try {
            start(Settings.from(System.getenv()), Handlers.BY_TYPE, TIME_TO_FINISH);
        } catch (IllegalArgumentException problem) {
            System.err.println(problem.getMessage());
            System.exit(2);
        }
    }

    static void start(Settings settings, Map<String, Handler> handlers, Duration timeToFinish) {
        var worker = new Worker(settings, handlers);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            worker.stop(timeToFinish);
            Runtime.getRuntime().halt(0); // else the exit code would be that of the signal
        }));
        worker.start();
    }
}
