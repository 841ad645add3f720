"""Independent references: awkward nets, and the papers in slow, explicit float64 code.

Nothing here imports `nni_widgets`: what the engine is tested against must not share its mistakes.

- `nets`: the catalogue `NETS` of small awkward networks.
- `random_nets`: networks of random order, as a function of a seed and as a hypothesis strategy.
- `graph`: a network written out by hand, every affine layer a dense matrix.
- `hand_graphs`: networks of the catalogue, and every random network, written out that way.
- `lrp`: the rules of layer-wise relevance propagation on such a graph.
- `backward`: gradient, deconvnet and guided backprop on such a graph.
- `closed_forms`: functions whose attributions are known by calculation.
"""
