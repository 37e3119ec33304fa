"""A worker is killed while requests are under way; every one of them is answered."""

import shoal
from shoal import zoo

network = shoal.load(zoo.path("fashion-resnet"))
samples = zoo.samples("fashion-resnet")

with shoal.local_cluster(3) as cluster:
    playbook = shoal.plan(network, cluster, strategy="pipeline", stages=3)
    with shoal.deploy(playbook, cluster) as service:
        answers = service.infer_many(samples.feed(k % 500) for k in range(1000))
        for answered, _ in enumerate(answers, 1):
            if answered == 300:
                cluster.processes["worker-2"].kill()
        stats = service.stats()

print(f"{answered} answered, {stats.retried} of them by another way, {stats.failed} lost")
for plan, count in stats.plans.items():
    print(f"  {count:4} by {plan}")
