#!/usr/bin/env python3
"""check_layers.py must find each kind of fault, and nothing in a clean tree."""
import os
import tempfile
import unittest

import check_layers


class CheckLayers(unittest.TestCase):
    def faults_of(self, **files):
        with tempfile.TemporaryDirectory() as root:
            for path, text in files.items():
                path = os.path.join(root, path.replace("__", "/").replace("_c", ".c").replace("_h", ".h"))
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "w", encoding="utf-8") as f:
                    f.write(text)
            return list(check_layers.faults(root))

    def test_clean_tree_has_none(self):
        self.assertEqual([], self.faults_of(src__store__a_c='#include <sqlite3.h>\n#include "base/err.h"\n',
                                            src__base__json_h="#include <yyjson.h>\n",
                                            src__cli__b_c='#include "supervisor/x.h"\n#include "cli/y.h"\n'))

    def test_upward_include_is_found(self):
        self.assertIn("base (layer 0) may not include store/store.h",
                      self.faults_of(src__base__a_c='#include "store/store.h"\n')[0])

    def test_sibling_include_is_found(self):
        self.assertEqual(1, len(self.faults_of(src__auth__a_c='#include "engine/engine.h"\n')))

    def test_foreign_header_elsewhere_is_found(self):
        for header in ("sqlite3.h", "llama.h", "ggml-cpu.h", "curl/curl.h", "event2/event.h", "sodium.h", "yyjson.h"):
            self.assertEqual(1, len(self.faults_of(src__api__a_c=f"#include <{header}>\n")), header)

    def test_llama_has_its_two_files_only(self):
        self.assertEqual(1, len(self.faults_of(src__engine__a_c="#include <llama.h>\n",
                                               src__engine__llama_weights_c="#include <llama.h>\n")))

    def test_long_file_is_found(self):
        self.assertEqual([], self.faults_of(src__base__a_c="\n" * 1000))
        self.assertEqual(1, len(self.faults_of(src__base__a_c="\n" * 1001)))

    def test_registry_host_is_found(self):
        self.assertEqual(1, len(self.faults_of(x="see " + check_layers.REGISTRY_HOSTS[0] + "\n")))

    def test_unknown_folder_is_found(self):
        self.assertEqual(1, len(self.faults_of(src__new__a_c="\n")))


if __name__ == "__main__":
    unittest.main()
