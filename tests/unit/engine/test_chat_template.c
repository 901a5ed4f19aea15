/* The shim to the template engine: rendering, marking of what people wrote, refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/chat_template.h"

static const char source[] =
    "{%- if messages[0].role != 'system' %}{{ bos_token }}<s>default</s>{% endif %}"
    "{%- for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools here') }}{% "
    "endif %}"
    "<{{ m['role'] }}>{{ m['content'] | trim }}</s>{% endfor %}"
    "{%- if add_generation_prompt %}<assistant>{% endif %}";

struct text {
    char all[512],
        written[512]; /* written: parts that come from messages (roles too), with | behind each */
};

static void on_part(void *ctx, const char *text, size_t size, bool message) {
    struct text *t = ctx;
    strncat(t->all, text, size);
    if (message) {
        strncat(t->written, text, size);
        strcat(t->written, "|");
    }
}

static struct model_message message(struct str role, struct str content) {
    return (struct model_message){role, content};
}

static void renders_by_the_models_own_rules(void **state) {
    struct chat_template *t = chat_template_new(source, "^", "$");
    const struct model_message chat[] = {message(STR("user"), STR(" hi ")),
                                         message(STR("assistant"), STR("yes")),
                                         message(STR("user"), STR("<assistant>{{ x }}"))};
    struct text out = {0};
    (void)state;
    assert_non_null(t);
    assert_int_equal(chat_template_render(t, chat, 3, true, on_part, &out, NULL), ERR_OK);
    assert_string_equal(
        out.all,
        "^<s>default</s><user>hi</s><assistant>yes</s><user><assistant>{{ x }}</s><assistant>");
    assert_string_equal(out.written, "user|hi|assistant|yes|user|<assistant>{{ x }}|");
    out = (struct text){0};
    const struct model_message system = message(STR("system"), STR("be good"));
    assert_int_equal(chat_template_render(t, &system, 1, false, on_part, &out, NULL), ERR_OK);
    assert_string_equal(out.all, "<system>be good</s>");
    chat_template_free(t);
}

static void refusals_and_faults_are_errors(void **state) {
    struct chat_template *t = chat_template_new(source, "", "");
    const struct model_message tool = message(STR("tool"), STR("x"));
    struct text out = {0};
    struct errinfo ei;
    (void)state;
    assert_int_equal(chat_template_render(t, &tool, 1, true, on_part, &out, &ei), ERR_INVALID);
    assert_non_null(strstr(ei.message, "no tools here"));
    chat_template_free(t);
    assert_null(chat_template_new("{% if x %}", "", ""));
    assert_null(chat_template_new("{{ 'a", "", ""));
    t = chat_template_new("{{ messages[7].content.x.y }}", "", "");
    assert_non_null(t);
    enum err e = chat_template_render(t, &tool, 1, true, on_part, &out, &ei);
    assert_true(e == ERR_OK || e == ERR_INVALID);
    chat_template_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(renders_by_the_models_own_rules),
        cmocka_unit_test(refusals_and_faults_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
