/* Texts of the wire as Python's, and as JSON. Names and most values repeat endlessly: short ones are remembered. */
#ifndef SPANTREE_TEXTS_H
#define SPANTREE_TEXTS_H

#include "hot_path.h"

enum text_use { TEXT_VALUE, TEXT_KEY };

/* The text, a new reference, and where `json` is given its JSON: of a key as it is stored, and with a colon.
 * UNUSUAL where it is no UTF-8 or holds a NUL. */
outcome read_text(const unsigned char *bytes, size_t length, enum text_use use, PyObject **text, buffer *json);

#endif
