"""Run it with: python -m examples.quickstart.client."""

import asyncio

from broker_queue import Graph, JobQueue


async def main() -> None:
    graph = Graph("quickstart")
    source = graph.add("fetch", {"url": "https://example.org/data.csv"})
    image = graph.add("build", {"source": source.result["path"]})
    graph.add("notify", {"text": "the build failed"}, dependencies=[image.failed])
    async with JobQueue() as queue:
        await queue.submit(graph)
        print(await queue.result(image, timeout=60))


if __name__ == "__main__":
    asyncio.run(main())
