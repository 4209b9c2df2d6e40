package worker;

import java.time.Duration;
import java.util.Map;

/** A worker whose handlers end in unusual ways, and which waits for none of them when it stops. */
final class Failures {
    private static final class Mute extends RuntimeException {
        private static final long serialVersionUID = 1;

        @Override
        public String getMessage() {
            throw new UnsupportedOperationException();
        }
    }

    private Failures() {}

    public static void main(String[] arguments) {
        Main.start(Settings.from(System.getenv()), Map.of(
                "failure.without-code", job -> {
                    throw new JobFailure(null, "why", false);
                },
                "failure.mute", job -> {
                    throw new Mute();
                },
                "failure.broken", job -> {
                    throw new IllegalStateException("broken");
                },
                "failure.cut-short", job -> {
                    try {
                        Thread.sleep(Duration.ofHours(1).toMillis());
                    } catch (InterruptedException stop) {
                        return "cut short";
                    }
                    return "whole";
                }), Duration.ZERO);
    }
}
