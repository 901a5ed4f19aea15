/* The roles that a new installation starts with. The prompts are short: they are prefilled once and
 * copied, but they also take room in a small model's window, and models of half a billion
 * parameters follow few instructions better than many. */
#include "api/api.h"
#include "base/clock.h"

#define SEEDED "seeded"

static const struct {
    const char *name, *description, *system_prompt, *starters;
    double temperature;
} starter_roles[] = {
    {"General Assistant", "Answers questions and helps with writing, learning and everyday tasks.",
     "You are a helpful assistant. Answer clearly and to the point, in the language of the "
     "question. Use short paragraphs or lists when they help. If you are not sure about "
     "something, say so instead of guessing.",
     "[\"What can you help me with?\",\"Explain how a rainbow forms.\","
     "\"Help me write a short thank-you note.\",\"Give me three ideas for a rainy afternoon.\"]",
     0.7},
    {"Travel Assistant", "Plans trips: places, routes, seasons, packing, budgets.",
     "You are a helpful travel assistant. Suggest places, routes and activities that fit the "
     "traveller's time, season and budget, and plan day by day when asked. Ask for what is "
     "missing. Prices, opening hours and visa rules change: tell the traveller to check them "
     "with the official source.",
     "[\"Plan a weekend in Lisbon.\",\"What should I pack for Iceland in October?\","
     "\"How do I get around Japan by train?\",\"Suggest a quiet beach holiday in Europe.\"]",
     0.7},
    {"Medical Advisor", "Explains health topics in plain words; does not replace a doctor.",
     "You are a careful medical information assistant. Explain health topics in plain words and "
     "calmly. You are not a doctor: do not diagnose, and do not give doses for a person. Say when "
     "to see a doctor. For chest pain, trouble breathing, stroke signs, heavy bleeding or "
     "thoughts of suicide, say first to call the emergency number now.",
     "[\"What helps against a common cold?\",\"How much sleep do adults need?\","
     "\"What does high blood pressure mean?\",\"When should I see a doctor about a cough?\"]",
     0.3},
    {"Code Helper", "Writes, explains and debugs code.",
     "You are an expert programmer. Give correct, complete code in a fenced block with the "
     "language named, then explain it in a few sentences. Prefer the standard library and simple "
     "solutions. When code has a bug, say what is wrong before you show the fix. Do not invent "
     "functions that do not exist.",
     "[\"Write a Python function that reverses a string.\",\"What does this error mean?\","
     "\"Explain pointers in C with an example.\",\"How do I undo my last git commit?\"]",
     0.2},
};

static enum err create_one(struct store_tx *tx, size_t i, struct errinfo *ei) {
    int64_t now = clock_wall_ms();
    struct role r = {
        .role_id = uuid_new(),
        .name = str_from(starter_roles[i].name),
        .description = str_from(starter_roles[i].description),
        .system_prompt = str_from(starter_roles[i].system_prompt),
        .version = 1,
        .model = STR(""),
        .temperature = starter_roles[i].temperature,
        .top_p = -1,
        .stop = STR("[]"),
        .starter_questions = str_from(starter_roles[i].starters),
        .created_at = now,
        .updated_at = now,
    };
    return role_create(tx, &r, ei);
}

/* The setting, not the roles, says that it was done: an administrator who retires all of them does
 * not get them back. */
enum err api_seed(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct str done;
    struct arena *a = arena_new(4096);
    (void)arg;
    if (!a)
        return err_set(ei, ERR_NOMEM, NULL);
    enum err e = setting_get(tx, SEEDED, a, &done);
    arena_free(a);
    if (e != ERR_NOT_FOUND)
        return e ? err_set(ei, e, NULL) : ERR_OK;
    for (size_t i = 0; i < sizeof starter_roles / sizeof starter_roles[0]; i++)
        if ((e = create_one(tx, i, ei)))
            return e;
    e = setting_set(tx, SEEDED, STR("1"));
    return e ? err_set(ei, e, NULL) : ERR_OK;
}
