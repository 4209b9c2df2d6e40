package worker;

import java.util.Locale;

/** What a worker tells the scheduler of a job; each is written to JSON as it is. */
sealed interface Report {
    /** Already JSON, so that what cannot be written is found before the job counts as done. */
    record Finished(byte[] json) implements Report {}

    record Failed(String code, String message, boolean retry) implements Report {
        private static final int LONGEST_CODE = 200;
        private static final int LONGEST_MESSAGE = 20_000;

        public Failed {
            code = code == null || code.isEmpty() ? "failed" : code.substring(0, Math.min(code.length(), LONGEST_CODE));
            message = message == null ? "" : message.substring(0, Math.min(message.length(), LONGEST_MESSAGE));
        }
    }

    record Released(String reason) implements Report {}

    record Started(String worker) implements Report {}

    record Progress(double fraction, String message) implements Report {}

    record Lease(String worker) implements Report {}

    record Heartbeat(String worker) implements Report {}

    default String type() {
        return getClass().getSimpleName().toLowerCase(Locale.ROOT);
    }
}
