package worker;

import java.net.URI;
import java.time.Duration;

/** Starts the worker, and stops it in order on SIGTERM or Ctrl-C. */
public final class Main {
    private static final Duration TIME_TO_FINISH = Duration.ofSeconds(25);

    private Main() {}

    public static void main(String[] arguments) {
        var settings = new Settings(
                URI.create(variable("BROKER_QUEUE_URL", "amqp://guest:guest@localhost:5672/")),
                variable("BROKER_QUEUE_NAMESPACE", "bq"),
                Integer.parseInt(variable("CONCURRENCY", "4")));
        var worker = new Worker(settings, Handlers.BY_TYPE);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            worker.stop(TIME_TO_FINISH);
            Runtime.getRuntime().halt(0); // else the exit code would be that of the signal
        }));
        worker.start();
    }

    private static String variable(String name, String otherwise) {
        String value = System.getenv(name);
        return value == null || value.isEmpty() ? otherwise : value;
    }
}
