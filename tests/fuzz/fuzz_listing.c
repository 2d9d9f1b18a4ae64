/* Any bytes as a hub's list of files: refused with a sentence, or read, and then no name leads out of the folder. */
#include <stdint.h>
#include <string.h>

#include "hub/listing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hub_listing l;
    struct err err = {{0}};
    if (listing_parse(&l, (const char *)data, size, &err)) {
        ENSURE(err.text[0] != 0 && strchr(err.text, '\n') == NULL);
        return 0;
    }
    for (size_t i = 0; i < l.n; i++) {
        const char *name = l.files[i].name, *up = strstr(name, "..");
        ENSURE(name[0] && name[0] != '/' && strcmp(name, "..") && strncmp(name, "../", 3) && !strstr(name, "/../"));
        ENSURE(!up || strcmp(name + strlen(name) - 2, "..") || name[strlen(name) - 3] != '/');
    }
    if (listing_choose(&l, "owner/name", NULL, &err) < 0)
        ENSURE(err.text[0] != 0);
    listing_release(&l);
    return 0;
}
