"""Load, plan, deploy, ask."""

import shoal
from shoal import zoo

network = shoal.load(zoo.path("fashion-resnet"))
samples = zoo.samples("fashion-resnet")

with shoal.local_cluster(3) as cluster:
    playbook = shoal.plan(network, cluster, strategy="pipeline", stages=3)
    with shoal.deploy(playbook, cluster) as service:
        answers = list(service.infer_many(samples.feed(k) for k in range(100)))

right = sum(samples.is_right(k, answer.outputs["logits"]) for k, answer in enumerate(answers))
print(f"{right} of 100 right")
for stage in answers[-1].trace:
    print(f"stage {stage.stage} ran on {stage.device} in {stage.run_ms:.2f} ms")
