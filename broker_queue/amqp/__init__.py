"""The only place that knows the AMQP client library (and the scheduler's topology declares by it)."""
