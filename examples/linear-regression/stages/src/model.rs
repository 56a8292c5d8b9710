//! A fitted model: the output of training and the input of prediction.

use serde::{Deserialize, Serialize};

use crate::data::{Patient, Variable};

/// A linear model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinearModel {
    /// Value if every variable is zero.
    pub intercept: f64,
    /// Weight of each variable.
    pub coefficients: Vec<Coefficient>,
    /// Number of rows of the fit.
    pub observations: usize,
}

/// The weight of one variable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coefficient {
    /// Name of the variable.
    pub name: String,
    /// Its weight.
    pub coefficient: f64,
}

/// The prediction for a patient.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prediction {
    /// The patient's variables, as given.
    pub independent_variables: Vec<Variable>,
    /// The predicted value.
    pub prediction: f64,
}

impl LinearModel {
    /// Applies the model; the error names a variable that the patient lacks.
    pub fn predict(&self, patient: Patient) -> anyhow::Result<Prediction> {
        let mut prediction = self.intercept;
        for Coefficient { name, coefficient } in &self.coefficients {
            let variable = patient.independent_variables.iter().find(|v| v.name == *name);
            let Some(variable) = variable else {
                anyhow::bail!("the model needs the variable {name:?}, which is not given");
            };
            prediction += coefficient * variable.value;
        }
        Ok(Prediction {
            independent_variables: patient.independent_variables,
            prediction,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> LinearModel {
        LinearModel {
            intercept: 10.0,
            coefficients: vec![Coefficient {
                name: "bmi".into(),
                coefficient: 2.0,
            }],
            observations: 3,
        }
    }

    fn patient(name: &str) -> Patient {
        Patient {
            independent_variables: vec![Variable {
                name: name.into(),
                value: 0.5,
            }],
        }
    }

    #[test]
    fn a_prediction_is_intercept_plus_weighted_variables() {
        assert_eq!(model().predict(patient("bmi")).unwrap().prediction, 11.0);
    }

    #[test]
    fn a_variable_that_is_missing_is_named() {
        let text = model().predict(patient("ltg")).unwrap_err().to_string();
        assert!(text.contains("\"bmi\""), "{text}");
    }
}
