/* Whose layers of an embedding model the guard's classifier was trained on: the name of the changes
 * that are merged into the model's weights (tools/minilm_to_gguf.py writes it there as
 * LAYERS_OF_KEY). Who asks for layers says it, who answers does, too, and weights must have it:
 * layers of other weights have as many numbers, and mean something else. */
#pragma once

#define LAYERS_OF     "parley-guard-6"
#define LAYERS_OF_KEY "parley.layers" /* of a GGUF's metadata */
