/* The shim to llama.cpp's Jinja engine (common/jinja); see chat_template.h. */
#include <memory>
#include <string>

#include <llama-jinja/common/jinja/lexer.h>
#include <llama-jinja/common/jinja/parser.h>
#include <llama-jinja/common/jinja/runtime.h>
#include <llama-jinja/common/json.h>

extern "C" {
#include "engine/chat_template.h"
}

struct chat_template {
    std::string source, bos, eos;
    jinja::program program;
};

struct chat_template *chat_template_new(const char *source, const char *bos, const char *eos) {
    try {
        jinja::lexer lexer;
        auto tokens = lexer.tokenize(source);
        return new chat_template{source, bos, eos, jinja::parse_from_tokens(tokens)};
    } catch (...) {
        return nullptr;
    }
}

void chat_template_free(struct chat_template *t) {
    delete t;
}

static common_json messages_of(const struct model_message *messages, int n) {
    common_json list = common_json::array({});
    for (int i = 0; i < n; i++) {
        common_json message = common_json::object();
        message["role"] = std::string(messages[i].role.p, messages[i].role.n);
        message["content"] = std::string(messages[i].content.n ? messages[i].content.p : "",
                                         messages[i].content.n);
        list.push_back(message);
    }
    common_json input = common_json::object();
    input["messages"] = list;
    return input;
}

static common_json settings_of(const struct chat_template *t, bool answer) {
    common_json input = common_json::object();
    input["bos_token"] = t->bos;
    input["eos_token"] = t->eos;
    input["add_generation_prompt"] = answer;
    return input;
}

enum err chat_template_render(const struct chat_template *t, const struct model_message *messages,
                              int n, bool answer,
                              void (*part)(void *ctx, const char *text, size_t size, bool message),
                              void *ctx, struct errinfo *ei) {
    try {
        jinja::context context(t->source);
        jinja::global_from_json(context, settings_of(t, answer), false);
        jinja::global_from_json(context, messages_of(messages, n), true);
        jinja::runtime runtime(context);
        auto result = jinja::runtime::gather_string_parts(runtime.execute(t->program));
        std::string joined;
        bool message = false;
        for (const auto &p : result->val_str.parts) {
            if (p.is_input != message && !joined.empty()) {
                part(ctx, joined.data(), joined.size(), message);
                joined.clear();
            }
            message = p.is_input;
            joined += p.val;
        }
        if (!joined.empty())
            part(ctx, joined.data(), joined.size(), message);
        return ERR_OK;
    } catch (const std::bad_alloc &) {
        return err_set(ei, ERR_NOMEM, nullptr);
    } catch (const std::exception &e) {
        return err_set(ei, ERR_INVALID, "the model's chat template refuses these messages: %.200s",
                       e.what());
    } catch (...) {
        return err_set(ei, ERR_INVALID, "the model's chat template refuses these messages");
    }
}
