"""A RabbitMQ for development, demo and tests: found, or started and stopped again.

`find_broker` is what the demo, ``broker-queue dev`` and the tests share. Production never comes
here: it has a URL.
"""
