"""Ask from asyncio, many requests at once, each with a deadline."""

import asyncio

import shoal
from shoal import zoo

network = shoal.load(zoo.path("fashion-resnet"))
samples = zoo.samples("fashion-resnet")


async def main() -> None:
    with shoal.local_cluster(2) as cluster:
        playbook = shoal.plan(network, cluster, strategy="replicas")
        with shoal.deploy(playbook, cluster) as service:
            asked = (service.infer_async(samples.feed(k), deadline_ms=5000) for k in range(50))
            answers = await asyncio.gather(*asked)
    names = [samples.classes[int(answer.outputs["logits"].argmax())] for answer in answers[:5]]
    print(f"{len(answers)} answers, beginning with {', '.join(names)}")


asyncio.run(main())
