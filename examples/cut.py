"""Where a network can be cut, and that its parts give its answer."""

import numpy as np

import shoal
from shoal import zoo

network = shoal.load(zoo.path("fashion-resnet"))
print(network)

narrow = sorted(network.cuts, key=lambda cut: cut.bytes)[:3]
for cut in narrow:
    print(f"cut at {cut.at}: {', '.join(cut.names)}, {cut.bytes} bytes")

first, second = network.split([network.cuts[len(network.cuts) // 2]])
image = zoo.samples("fashion-resnet").feed(0)
between = first.run(image)
answer = second.run(between)
np.testing.assert_allclose(answer["logits"], network.run(image)["logits"], rtol=1e-4, atol=1e-4)
print("parts and whole agree")
