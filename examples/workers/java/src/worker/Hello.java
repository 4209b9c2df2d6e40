package worker;

import java.util.Collection;

/** How a worker names itself. */
record Hello(String worker, Collection<String> types, int concurrency, int running, String host, long pid,
        String software, boolean leases, boolean stopping) {}
