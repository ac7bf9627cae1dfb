"use strict";
// Nothing is loaded from elsewhere: no validator, and the document is our own.
SwaggerUIBundle({
  url: document.getElementById("reader").dataset.document,
  dom_id: "#reader",
  validatorUrl: null,
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  persistAuthorization: false,
});
