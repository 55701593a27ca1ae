/* From bytes to arguments: query strings, JSON bodies, forms. */
#ifndef TMB_SERVER_ARGUMENTS_H
#define TMB_SERVER_ARGUMENTS_H

#include "server/request.h"

/* Percent-decodes `text` in place; `plus` also turns '+' into a blank. False if an escape is broken or
 * stands for NUL. */
bool tmb_percent_decode(char *text, bool plus);

/* Fills request->query and request->arguments by the route's tables. False if something is wrong; then
 * the request has been answered. */
bool tmb_arguments_read(tmb_request *request);

/* Whether a content type is `type`, whatever parameters follow. */
bool tmb_content_type_is(const char *content_type, const char *type);

/* Writes `text` as one segment of a path: everything but letters, digits, '-', '.', '_' and '~' escaped. Cut at `size`.
 */
void tmb_percent_encode(const char *text, char *out, size_t size);

#endif
