package worker;

import com.rabbitmq.client.ShutdownSignalException;
import java.io.IOException;
import java.time.Duration;
import java.util.concurrent.Future;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/** The one thread to which all state of the worker belongs. */
final class Loop {
    /** Something to do in it. */
    @FunctionalInterface
    interface Step {
        void run() throws IOException;
    }

    private final ScheduledThreadPoolExecutor thread = new ScheduledThreadPoolExecutor(1);
    private final Consumer<Exception> onLost;

    /** `onLost` hears of steps that the broker ended. */
    Loop(Consumer<Exception> onLost) {
        this.onLost = onLost;
        thread.setRemoveOnCancelPolicy(true);
    }

    Future<?> post(Step step) {
        return after(Duration.ZERO, step);
    }

    Future<?> after(Duration delay, Step step) {
        return thread.schedule(() -> guarded(step), delay.toMillis(), TimeUnit.MILLISECONDS);
    }

    private void guarded(Step step) {
        try {
            step.run();
        } catch (IOException | ShutdownSignalException problem) {
            onLost.accept(problem);
        } catch (RuntimeException mistake) {
            mistake.printStackTrace(); // of this program: the loop goes on
        }
    }
}
