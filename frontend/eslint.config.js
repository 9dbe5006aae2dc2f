import eslint from "@eslint/js";
import typescript from "typescript-eslint";

export default typescript.config(
  { ignores: ["node_modules"] },
  {
    files: ["src/**/*.ts", "tests/**/*.ts"],
    extends: [eslint.configs.recommended, ...typescript.configs.strict],
  },
);
