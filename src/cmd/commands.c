#include "cmd/commands.h"

#include <stdio.h>

int command_options(struct options *o, const struct option_spec *spec, void *args, int argc,
                    char **argv)
{
    struct err err;
    int rc = options_parse(o, spec, args, argc, argv, &err);
    if (rc == 0)
        return -1;
    if (rc == 1) {
        struct buf text;
        buf_init(&text, 1 << 20);
        options_help(spec, &text);
        fwrite(text.data, 1, text.len, stdout);
        buf_release(&text);
    } else if (rc < 0) {
        command_misused(spec->command, &err);
    }
    options_release(o);
    return rc > 0 ? EXIT_DONE : EXIT_USAGE;
}

int command_failed(const char *command, const struct err *err)
{
    fprintf(stderr, "hone: %s: %s\n", command, err->text);
    return EXIT_FAILED;
}

int command_misused(const char *command, const struct err *err)
{
    fprintf(stderr, "hone: %s: %s (see hone %s --help)\n", command, err->text, command);
    return EXIT_USAGE;
}
