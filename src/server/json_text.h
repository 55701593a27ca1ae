/* Any bytes as a JSON string. */
#ifndef TMB_SERVER_JSON_TEXT_H
#define TMB_SERVER_JSON_TEXT_H

#include <jansson.h>

/* New reference: a string in which U+FFFD stands for what is not UTF-8; null for NULL; NULL if there is no memory.
 * jansson makes nothing at all of text that is not UTF-8. */
json_t *tmb_json_text(const char *text);

#endif
