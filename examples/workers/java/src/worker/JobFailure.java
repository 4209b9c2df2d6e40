package worker;

/** Thrown by a handler to say how its job failed, and whether another attempt makes sense. */
final class JobFailure extends Exception {
    private static final long serialVersionUID = 1;

    final String code;
    final boolean retry;

    JobFailure(String code, String message, boolean retry) {
        super(message);
        this.code = code;
        this.retry = retry;
    }

    static JobFailure invalidArgs(String message) {
        return new JobFailure("invalid_args", message, false);
    }
}
