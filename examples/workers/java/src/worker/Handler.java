package worker;

/** A function that does jobs of one type. */
@FunctionalInterface
interface Handler {
    /**
     * Runs in a thread of its own, which is interrupted when the job is canceled or the worker stops: a
     * handler that neither waits nor looks at {@link Thread#isInterrupted} cannot be stopped.
     *
     * @return the result: whatever Jackson can write
     * @throws JobFailure with a code for programs; any other exception fails the job too
     */
    Object run(Job job) throws Exception;
}
